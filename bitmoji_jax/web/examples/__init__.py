"""Drawn heads to try the page with. Nobody in them exists.

    python -m bitmoji_jax.web.examples

draws them anew: photos of the synthetic set's test split, by their numbers.
"""

EXAMPLES = {
    "0": "A woman with blond hair and glasses",
    "1": "A man with brown skin and swept-up dark hair",
    "22": "A woman with red hair",
    "46": "A man with a black beard",
    "28": "A woman with dark skin and pinned-up black hair",
    "34": "A man with a ginger beard and a woollen hat",
}
"""Name of the file, without .jpg -> what it shows."""
