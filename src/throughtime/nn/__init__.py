"""Recurrent networks: equations, layers and engines."""
