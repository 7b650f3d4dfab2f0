"""The run folder, with its checkpoints, its codec, its model and its report."""
