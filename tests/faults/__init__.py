"""Whatever can befall a machine, at random moments of every command: `make faults SEED=1 KILLS=300`.

Asked: no byte that differs in a result that is called complete, no traceback, no hang over 60 s, no process left
after 10 s, no state that only `--restart` ends without saying so.
"""
