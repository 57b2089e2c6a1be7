"""What happens to pixels: grids, sources, models, inference, outputs, vectors, learning."""
