"""The class map in the formats of bio-imaging and medicine."""
