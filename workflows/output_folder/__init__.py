"""The folder that results go into: checked, locked, and what lies where in it."""
