"""Scores of predictions: arrays in, numbers out."""
