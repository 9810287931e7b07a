"""From trained weights to avatars."""
