"""Flow matching: a velocity that carries noise to pictures."""
