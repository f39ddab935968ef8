"""Sequences of variable length, and batches of them."""
