"""What every other part stands on: the contract of a method, randomness, files, processes, precision."""
