"""Losses, image pool, train step, loop and checkpoints."""
