"""The judge of a data set, and what it makes of the real pictures; the weights that ship are beside this file."""
