"""What the networks minimise: arXiv 1703.10593, sections 3 and 5.2.

A loss is a `Term`. To add one, append a line to `generator_terms` or `discriminator_terms` and a weight to the config.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

from bitmoji_jax.config import TrainConfig
from bitmoji_jax.models.networks import Params
from bitmoji_jax.ops.platform import on_cpu
from bitmoji_jax.training.losses import absolute_error, discriminator_loss, least_squares

DOMAINS = ("x", "y")

# Images of a pass from which translation and identity are passes of their own, on a CPU: what both take together leaves
# its caches. Steps are 1 to 12 % faster at batch 4, and would be 7 % slower at batch 1 (benchmarks/NOTES.md).
_APART = 4

Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class Sample:
    """Images of one domain, real or generated, and what is known about them. It travels with them through the cycle."""

    image: jax.Array  # float32 [N, S, S, 3] in [-1, 1]


Pair = dict[str, Sample]  # keys x, y
Translate = Callable[[Params, Sample], Sample]
Scores = Any  # an array, or several of a discriminator of several heads
Judge = Callable[[Params, Sample], Scores]


class Translations(NamedTuple):
    """Every image of one step, by domain: fake["y"] is G(x), rec["x"] is F(G(x)), idt["y"] is G(y)."""

    real: Pair
    fake: Pair
    rec: Pair
    idt: Pair | None


class Term(NamedTuple):
    """One summand of a loss."""

    name: str  # in metrics.jsonl
    weight: float
    value: jax.Array  # float32 [], a mean over the batch


def translate_all(translate: Translate, g: Params, f: Params, real: Pair, *, identity: bool) -> Translations:
    """G and F of the real images, there and back, and, for the identity loss, of images of their own target domain."""
    x, y = real["x"], real["y"]
    if identity:
        fake_y, idt_y = both(translate, g, x, y)
        fake_x, idt_x = both(translate, f, y, x)
        idt = {"x": idt_x, "y": idt_y}
    else:
        fake_y, fake_x, idt = translate(g, x), translate(f, y), None
    return Translations(real, {"x": fake_x, "y": fake_y}, {"x": translate(f, fake_y), "y": translate(g, fake_x)}, idt)


def both(translate: Translate, params: Params, a: Sample, b: Sample) -> tuple[Sample, Sample]:
    """Two batches of one size, in one pass: larger products, and each kernel is read once."""
    if on_cpu() and len(a.image) >= _APART:
        return translate(params, a), translate(params, b)
    return halves(translate(params, concatenate(a, b)))


def concatenate(a: Any, b: Any) -> Any:
    return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), a, b)


def halves(tree: Any) -> tuple[Any, Any]:
    """The transpose of `concatenate`, for batches of one size."""
    first, second = (jax.tree.map(lambda a, i=i: jnp.split(a, 2)[i], tree) for i in (0, 1))
    return first, second


def generator_terms(out: Translations, judge: Judge, critics: dict[str, Params], config: TrainConfig) -> list[Term]:
    """What G and F minimise together."""
    terms = [
        Term("adversarial_g", 1.0, least_squares(judge(critics["d_y"], out.fake["y"]), 1.0)),
        Term("adversarial_f", 1.0, least_squares(judge(critics["d_x"], out.fake["x"]), 1.0)),
        *(Term(f"cycle_{d}", config.cycle_weight, distance(out.rec[d], out.real[d])) for d in DOMAINS),
    ]
    if out.idt is not None:
        terms += [Term(f"identity_{d}", config.identity_weight, distance(out.idt[d], out.real[d])) for d in DOMAINS]
    return terms


def discriminator_terms(
    real: Pair, fake: Pair, judge: Judge, critics: dict[str, Params], config: TrainConfig
) -> list[Term]:
    """What D_X and D_Y minimise; `fake` has passed through the image pools."""
    del config  # no weights yet
    terms = []
    for d in DOMAINS:
        # Real and generated in one call, as the article has it.
        scores = judge(critics[f"d_{d}"], concatenate(real[d], fake[d]))
        terms.append(Term(f"loss_d_{d}", 1.0, discriminator_loss(*halves(scores))))
    return terms


def total(terms: Sequence[Term]) -> tuple[jax.Array, Metrics]:
    """The weighted sum, and each term by name, unweighted."""
    return sum((t.weight * t.value for t in terms), start=jnp.zeros(())), {t.name: t.value for t in terms}


def distance(images: Sample, targets: Sample) -> jax.Array:
    return absolute_error(images.image, targets.image)
