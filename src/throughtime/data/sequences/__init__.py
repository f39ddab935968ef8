"""Sequences of any length, and batches of them."""
