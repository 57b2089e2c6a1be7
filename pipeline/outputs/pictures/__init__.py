"""Pictures of a result: preview, legend and scale bar."""
