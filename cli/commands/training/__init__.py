"""Commands about training a model and scoring a map."""
