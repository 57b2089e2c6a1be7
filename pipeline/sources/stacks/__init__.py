"""Stacks: bands of several files or assets as one Source on one grid."""
