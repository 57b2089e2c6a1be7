"""What happens to pixels: grids, sources, models, inference, outputs, vectors, learning."""

from segment_tiles.pipeline.library_messages import filter_warnings

filter_warnings()
