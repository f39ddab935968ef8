"""Audio recordings as sequences of features."""
