"""From windows to weights, with a record of how it went."""
