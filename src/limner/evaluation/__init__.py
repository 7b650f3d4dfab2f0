"""Judging: numbers for pictures and for models, each beside what real pictures get, and pages that show them."""
