"""A face in any photo: detected, measured, cut out and brought to the framing of training photos."""
