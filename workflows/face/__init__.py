"""What stands behind `import segment_tiles`: each function of the face parses its keywords and calls one workflow."""
