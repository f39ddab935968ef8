"""Labels of sequences or their steps: networks, training, comparison, prediction."""
