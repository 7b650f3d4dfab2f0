"""The description of a training run: a validated tree, its settings, and the table of methods and presets."""
