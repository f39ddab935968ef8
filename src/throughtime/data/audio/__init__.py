"""Recordings as sequences of features."""
