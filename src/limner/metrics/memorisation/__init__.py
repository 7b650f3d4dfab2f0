"""Whether samples copy training pictures."""
