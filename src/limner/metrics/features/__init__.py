"""What turns pictures into features: the detectors."""
