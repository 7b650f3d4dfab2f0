"""One file per family of generators, each reading like its paper."""
