"""Language models, which predict the next token: training, comparison, prediction."""
