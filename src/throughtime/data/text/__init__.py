"""Text documents and their tokens."""
