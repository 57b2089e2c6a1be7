"""int8: what a network is calibrated on, how it is judged, and where it is kept."""
