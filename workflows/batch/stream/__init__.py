"""Jobs of a batch in flight at once."""
