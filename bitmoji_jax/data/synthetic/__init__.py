"""Draws heads twice over, as avatars and as photo-like renderings: what the synthetic set is made of."""
