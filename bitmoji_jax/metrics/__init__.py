"""Scores as pure functions of arrays: no dataset, no run, no file."""
