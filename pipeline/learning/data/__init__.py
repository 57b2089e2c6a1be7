"""Training windows from labelled scenes."""
