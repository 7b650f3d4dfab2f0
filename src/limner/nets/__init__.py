"""Networks, free of any method."""
