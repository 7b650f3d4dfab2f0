"""limner trains, judges and uses image generators on a person's own pictures."""
