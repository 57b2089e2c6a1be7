"""Model packages: manifest, weights and checksums, read and written."""
