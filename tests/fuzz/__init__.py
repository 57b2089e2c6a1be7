"""Mutated inputs against every command: `make fuzz SEED=1 COUNT=1000`.

Asked of each: an exit status of 0, 1, 2 or 130, one line for an error, no traceback, no hang, under 3 GB.
"""
