"""The order of work, where it runs, and how it starts again."""
