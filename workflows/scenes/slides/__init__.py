"""The Kind of slides and OME images: what is measured in micrometres and has a pyramid."""
