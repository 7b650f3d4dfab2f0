"""Prints the results of verbs as text."""
