"""Image folders, the TFDS dataset, the built-in synthetic set and the input pipeline."""
