"""Prints the results of verbs for a person."""
