"""What a model's latents hold, and how well it reconstructs."""
