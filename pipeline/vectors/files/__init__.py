"""Vector files: GeoParquet, those of OGR, and QuPath's."""
