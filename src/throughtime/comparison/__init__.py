"""Comparison of networks: trials under equal conditions, and a verdict with reasons."""
