"""Weights of other projects, translated key by key into networks of this one."""
