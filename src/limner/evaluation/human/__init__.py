"""Studies in which people judge pictures that they see blind: making them, serving them, and analysing the answers."""
