"""Seeing through recurrent networks."""
