"""The Kind of volumes: many planes along one direction, or along three."""
