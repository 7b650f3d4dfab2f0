"""Scores that compare two sets of pictures by their features."""
