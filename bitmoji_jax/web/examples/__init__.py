"""Drawn heads to try the page with. Nobody in them exists.

    python -m bitmoji_jax.web.examples

draws them anew: photos of the synthetic set's test split, by their numbers.
"""

EXAMPLES = {
    "1": "A man with brown skin and dark, swept-up hair",
    "2": "A woman with long red hair",
    "32": "A woman with a bun",
    "0": "A woman with blond hair and glasses",
    "45": "A man with ginger hair",
    "46": "A man with a black beard",
}
"""Name of the file, without .jpg -> what it shows."""
