"""From labelled pixels to polygons: trace, join across seams, simplify, measure."""
