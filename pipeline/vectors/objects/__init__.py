"""Objects: pixels of a class, and of the border between touching ones, given to the nearest seed."""
