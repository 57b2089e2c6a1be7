"""Areas that limit what is computed and written: AOI and tissue."""
