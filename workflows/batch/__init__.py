"""Many scenes from one jobs file: read, expand, run one after the other, and account for each."""
