"""The next token of a text: training, comparison, prediction."""
