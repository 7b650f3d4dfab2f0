"""The run folder: what a run was told, did and made; its checkpoints, its codec, its model, its report."""
