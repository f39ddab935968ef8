"""Answers to sequences or to their steps: networks, training, comparison, prediction."""
