"""Names of the texts that limner writes into its PNG files, by which it recognises them when they come back as input."""

from __future__ import annotations

SHEET_KEY = "sheet"
"""Of a picture that shows several on one sheet, such as a grid of samples: it is no picture of a data set."""
ORIGIN_KEYS = frozenset({"recipe", "model"})
"""Of every picture that a model drew, unless its metadata were not wanted."""
SHEET_REASON = "a sheet of several pictures that limner made, and no picture of a set"
"""Why such a sheet is set aside, in manifests and reports."""
TRANSPARENCY_WORDS = "have transparent pixels, which are filled with"
"""The words by which the note about transparency, which is not repeated, is recognised."""
