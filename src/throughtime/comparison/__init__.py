"""Which network, if any: fair trials, and a verdict with its reason."""
