"""Scores of a trained translator."""
