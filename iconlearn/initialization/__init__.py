"""Where an optimisation begins."""
