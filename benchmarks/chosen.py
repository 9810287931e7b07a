"""Which weights a benchmark of avatars looks at, and on which dataset."""

import dataclasses
from pathlib import Path

from bitmoji_jax.errors import InputError
from bitmoji_jax.inference.translator import Translator
from bitmoji_jax.inference.weights import Weights, load_weights, pretrained_weights, run_weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Chosen:
    """The dataset and the weights; by default the pretrained ones."""

    data: str
    """Folder of a prepared dataset, with test images."""
    run: Path | None = None
    """A run; by default the pretrained weights."""
    weights: Path | None = None
    """A file of weights, in place of a run."""
    seed: int = 0
    """Of the choice of images."""

    def load_weights(self) -> Weights:
        """Loads the weights into memory; InputError for a run and a file."""
        self._check()
        if self.run is not None:
            return run_weights(self.run)[0]
        return pretrained_weights() if self.weights is None else load_weights(self.weights)

    def open_translator(self) -> Translator:
        """Opens a translator, also of an exported file; InputError for a run and a file."""
        self._check()
        if self.weights is not None:
            return Translator.from_file(self.weights)
        return Translator.from_weights(self.load_weights())

    def _check(self) -> None:
        if self.run is not None and self.weights is not None:
            raise InputError("name a run or a file of weights, not both")
