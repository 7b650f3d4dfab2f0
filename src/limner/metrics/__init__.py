"""Metrics: functions of the statistics of two sets of images. They know neither methods nor data sets."""
