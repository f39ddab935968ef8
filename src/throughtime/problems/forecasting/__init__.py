"""Forecasts of series: networks, training, comparison, prediction."""
