"""How a run computes: backend, precision, batch, measured once and kept."""
