"""What a run leaves: output directory, lock, formats, areas and pictures."""
