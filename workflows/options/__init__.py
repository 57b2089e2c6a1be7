"""Options are declared once, as fields of a configuration; every door that takes them reads the declaration."""
