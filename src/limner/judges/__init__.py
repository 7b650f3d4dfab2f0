"""The judge of a data set, and the cache of what a detector gives for real pictures; shipped weights lie beside this file."""
