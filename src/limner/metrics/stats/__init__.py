"""Moments, intervals and tests that the scores share."""
