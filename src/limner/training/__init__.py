"""Training: from a source of pictures and settings to a finished run folder."""
