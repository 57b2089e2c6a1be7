"""Model packages: imported, listed and changed."""
