"""The networks: equations, layers, whole models."""
