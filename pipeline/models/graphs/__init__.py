"""Networks as graphs: those that a package brings, and rewriting for inference."""
