"""Forecasting of time series: networks, training, comparison, prediction."""
