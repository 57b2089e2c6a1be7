"""One reader per kind of input behind one small protocol."""
