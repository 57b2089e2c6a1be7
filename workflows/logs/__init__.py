"""What a command logs: where it goes, in which form, and which job and scene it is about."""
