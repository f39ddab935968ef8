"""Kinds of problems, one folder for each."""
