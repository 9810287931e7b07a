"""One CycleGAN update as one compiled program, on any number of devices.

Order, as in the reference: forward; update G and F with the discriminators frozen; pass the images generated before
that update through the pools; update D_X and D_Y; update the moving averages.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from bitmoji_jax.config import ExperimentConfig, TrainConfig
from bitmoji_jax.data.augment import augment
from bitmoji_jax.models.discriminator import Discriminator
from bitmoji_jax.models.generator import Generator
from bitmoji_jax.models.platform import on_cpu
from bitmoji_jax.training.image_pool import ImagePool, empty_pool, query_pool
from bitmoji_jax.training.losses import absolute_error, discriminator_loss, least_squares

AXIS = "data"

# Images of a pass from which translation and identity are passes of their own, on a CPU: what both take together leaves
# its caches. Steps are 1 to 12 % faster at batch 4, and would be 7 % slower at batch 1 (benchmarks/NOTES.md).
_APART = 4

Params = Any
Pools = dict[str, ImagePool]  # keys x, y: images made by F, by G
Batch = dict[str, dict[str, jax.Array]]  # {"x": {"image": uint8, "landmarks": float32}, "y": ...}
Metrics = dict[str, jax.Array]


@flax.struct.dataclass
class TrainState:
    """All that is learned, and the place in the schedule. The same on every device."""

    images: jax.Array  # int32 [], images of each domain seen
    key: jax.Array  # base of every random draw; draws fold in the running number of the image, so it never changes
    generators: dict[str, Params]  # g: X -> Y, f: Y -> X
    discriminators: dict[str, Params]  # d_x, d_y
    ema: dict[str, Params]  # moving averages of g, f
    generator_opt: optax.OptState
    discriminator_opt: optax.OptState


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """All devices of the run, those of other processes too, or `devices`, in one row."""
    return Mesh(np.array(jax.devices() if devices is None else devices), (AXIS,))


def local(tree: Any) -> Any:
    """What every device of `make_mesh()` has, as arrays of this process's devices alone; nothing is copied.

    For programs in which the other processes have no part.
    """
    if jax.process_count() == 1:
        return tree
    return multihost_utils.global_array_to_host_local_array(tree, make_mesh(), PartitionSpec())


def make_networks(config: ExperimentConfig) -> tuple[Generator, Discriminator]:
    """The one generator module (used as G and as F) and the one discriminator module (D_X and D_Y)."""
    dtype: Any = jnp.dtype(config.train.compute_dtype if config.train.compute_dtype != "auto" else _auto_dtype())
    return Generator(config.generator, dtype=dtype), Discriminator(config.discriminator, dtype=dtype)


def _auto_dtype() -> str:
    return "float32" if on_cpu() else "bfloat16"


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Adam without its step size, which follows `learning_rate`."""
    return optax.scale_by_adam(b1=config.beta1, b2=config.beta2, eps=1e-8)


def learning_rate(config: TrainConfig, images: jax.Array | float, epoch_images: int) -> jax.Array:
    """Constant for `constant_epochs`, then linear to 0 at the end; `images` seen, `epoch_images` in an epoch."""
    constant = config.constant_epochs * epoch_images
    decay = config.decay_epochs * epoch_images
    left = jnp.clip((constant + decay - images) / decay, 0, 1) if decay else jnp.ones(())
    return config.learning_rate * left


def create_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Initial state, equal on every device of `mesh`, and empty pools [devices, ...], one a device.

    G and F, D_X and D_Y each start from a key of their own.
    """
    init_state, init_pools = _initializers(config, mesh)
    return init_state(), init_pools()


def abstract_train_state(config: ExperimentConfig, mesh: Mesh) -> tuple[TrainState, Pools]:
    """Shapes, types and places of what `create_train_state` makes, in `jax.ShapeDtypeStruct`s."""
    init_state, init_pools = _initializers(config, mesh)
    state, pools = jax.eval_shape(init_state), jax.eval_shape(init_pools)
    return _placed(state, mesh, PartitionSpec()), _placed(pools, mesh, PartitionSpec(AXIS))


def _placed(tree: Any, mesh: Mesh, spec: PartitionSpec) -> Any:
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding), tree)


def _initializers(config: ExperimentConfig, mesh: Mesh) -> tuple[Callable[[], TrainState], Callable[[], Pools]]:
    generator, discriminator = make_networks(config)
    optimizer = make_optimizer(config.train)
    size = config.data.image_size

    def init_state() -> TrainState:
        key = jax.random.key(config.train.seed)
        g_key, f_key, d_x_key, d_y_key, key = jax.random.split(key, 5)
        image = jnp.zeros((1, size, size, 3))
        init_generator, init_discriminator = jax.jit(generator.init), jax.jit(discriminator.init)
        generators = {"g": init_generator(g_key, image), "f": init_generator(f_key, image)}
        discriminators = {"d_x": init_discriminator(d_x_key, image), "d_y": init_discriminator(d_y_key, image)}
        return TrainState(
            images=jnp.zeros((), jnp.int32),
            key=jax.random.key_data(key),
            generators=generators,
            discriminators=discriminators,
            ema=generators,
            generator_opt=optimizer.init(generators),
            discriminator_opt=optimizer.init(discriminators),
        )

    def init_pools() -> Pools:
        pool = empty_pool(config.train.pool_size, size)
        stacked = jax.tree.map(lambda a: jnp.repeat(a[None], mesh.size, axis=0), pool)
        return {"x": stacked, "y": stacked}

    # Created where the step wants them: anywhere else would cost a second trace. It runs once, so it is compiled
    # fast instead of fast when run: 2 s and not 10 for a small network on a CPU.
    return (
        jax.jit(
            init_state,
            out_shardings=NamedSharding(mesh, PartitionSpec()),
            compiler_options={"xla_backend_optimization_level": 0},
        ),
        jax.jit(init_pools, out_shardings=NamedSharding(mesh, PartitionSpec(AXIS))),
    )


def make_train_step(
    config: ExperimentConfig, epoch_images: int
) -> Callable[[TrainState, Pools, Batch], tuple[TrainState, Pools, Metrics]]:
    """Returns train_step(state, pools, batch) -> (state, pools, metrics), compiled for every device.

    `pools` and the uint8 `batch` have a leading axis of devices; state and pools are donated. Metrics are float32
    scalars, means over the global batch, taken before the update.
    """
    device_step = _make_device_step(config, epoch_images)

    def step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        # Of what is shared out, each device has one: a leading axis of length 1.
        pools, batch = jax.tree.map(lambda a: a[0], (pools, batch))
        state, pools, metrics = device_step(state, pools, batch)
        return state, jax.tree.map(lambda a: a[None], pools), metrics

    everywhere, shared = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(
        jax.shard_map(
            step,
            mesh=make_mesh(),
            in_specs=(everywhere, shared, shared),
            out_specs=(everywhere, shared, everywhere),
            # With it, gradients of what is everywhere would be summed over the devices before `pmean` sees them.
            check_vma=False,
        ),
        donate_argnums=(0, 1),
    )


def lower_train_step(
    config: ExperimentConfig, epoch_images: int, image_size: int, state: TrainState, pools: Pools
) -> jax.stages.Lowered:
    """The step, traced so that it can be compiled before there is anything to call it with.

    `state` and `pools` may be abstract; `image_size` is that of the images in a batch, before `augment`.
    """
    mesh = make_mesh()
    batch_shape = (mesh.size, config.train.batch_size // mesh.size)
    domain = {
        "image": jax.ShapeDtypeStruct((*batch_shape, image_size, image_size, 3), jnp.uint8),
        "landmarks": jax.ShapeDtypeStruct((*batch_shape, 5, 2), jnp.float32),
    }
    step: Any = make_train_step(config, epoch_images)
    return step.lower(state, pools, _placed({"x": domain, "y": domain}, mesh, PartitionSpec(AXIS)))


def _make_device_step(config: ExperimentConfig, epoch_images: int) -> Callable:
    generator, discriminator = make_networks(config)
    # Jitted within the step, so that each is traced once, however often it is called.
    translate, judge = jax.jit(generator.apply), jax.jit(discriminator.apply)
    optimizer = make_optimizer(config.train)
    weights = config.train

    def translate_both(params: Params, a: jax.Array, b: jax.Array) -> Sequence[jax.Array]:
        """Of batches of one size."""
        if on_cpu() and len(a) >= _APART:
            return translate(params, a), translate(params, b)
        # In one pass: larger products, and each kernel is read once.
        return jnp.split(translate(params, jnp.concatenate([a, b])), 2)

    def generator_loss(
        generators: dict[str, Params], discriminators: dict[str, Params], real: dict[str, jax.Array]
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], Metrics]]:
        real_x, real_y = real["x"], real["y"]
        g, f = generators["g"], generators["f"]
        metrics = {}
        if weights.identity_weight:
            fake_y, idt_y = translate_both(g, real_x, real_y)
            fake_x, idt_x = translate_both(f, real_y, real_x)
            metrics["identity_x"] = absolute_error(idt_x, real_x)
            metrics["identity_y"] = absolute_error(idt_y, real_y)
        else:
            fake_y = translate(g, real_x)
            fake_x = translate(f, real_y)
        rec_x = translate(f, fake_y)
        rec_y = translate(g, fake_x)
        metrics["adversarial_g"] = least_squares(judge(discriminators["d_y"], fake_y), 1.0)
        metrics["adversarial_f"] = least_squares(judge(discriminators["d_x"], fake_x), 1.0)
        metrics["cycle_x"] = absolute_error(rec_x, real_x)
        metrics["cycle_y"] = absolute_error(rec_y, real_y)
        loss = (
            metrics["adversarial_g"]
            + metrics["adversarial_f"]
            + weights.cycle_weight * (metrics["cycle_x"] + metrics["cycle_y"])
        )
        if weights.identity_weight:
            loss += weights.identity_weight * (metrics["identity_x"] + metrics["identity_y"])
        return loss, ({"x": fake_x, "y": fake_y}, metrics | {"loss_generators": loss})

    def discriminators_loss(
        discriminators: dict[str, Params], real: dict[str, jax.Array], fake: dict[str, jax.Array]
    ) -> tuple[jax.Array, tuple[dict[str, jax.Array], Metrics]]:
        losses = {}
        for domain in ("x", "y"):
            both = jnp.concatenate([real[domain], fake[domain]])
            scores_real, scores_fake = jnp.split(judge(discriminators[f"d_{domain}"], both), 2)
            losses[f"loss_d_{domain}"] = discriminator_loss(scores_real, scores_fake)
        return losses["loss_d_x"] + losses["loss_d_y"], ({}, losses)

    def update(
        params: Params, opt_state: optax.OptState, grads: Params, rate: jax.Array
    ) -> tuple[Params, optax.OptState]:
        updates, opt_state = optimizer.update(grads, opt_state, params)
        return jax.tree.map(lambda p, u: p - rate * u, params, updates), opt_state

    def device_step(state: TrainState, pools: Pools, batch: Batch) -> tuple[TrainState, Pools, Metrics]:
        n = batch["x"]["image"].shape[0]
        devices = jax.lax.axis_size(AXIS)
        numbers = state.images + jax.lax.axis_index(AXIS) * n + jnp.arange(n)
        key = jax.random.wrap_key_data(state.key)
        keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number), 4))(numbers)

        real = {
            domain: augment(
                batch[domain]["image"],
                batch[domain]["landmarks"],
                keys[:, i],
                size=config.data.image_size,
                crop_margin=config.data.crop_margin,
                flip=config.data.flip,
            )[0]
            for i, domain in enumerate(("x", "y"))
        }

        rate = learning_rate(config.train, state.images, epoch_images)
        grads, (fake, metrics) = _accumulate(
            lambda part: jax.grad(generator_loss, has_aux=True)(state.generators, state.discriminators, part),
            real,
            config.train.accumulation_steps,
        )
        grads = jax.lax.pmean(grads, AXIS)
        metrics["grad_norm_generators"] = optax.tree.norm(grads)
        generators, generator_opt = update(state.generators, state.generator_opt, grads, rate)

        shown_x, pool_x = query_pool(pools["x"], fake["x"], keys[:, 2])
        shown_y, pool_y = query_pool(pools["y"], fake["y"], keys[:, 3])
        grads, (_, critic_metrics) = _accumulate(
            lambda part: jax.grad(discriminators_loss, has_aux=True)(state.discriminators, part["real"], part["shown"]),
            {"real": real, "shown": {"x": shown_x, "y": shown_y}},
            config.train.accumulation_steps,
        )
        grads = jax.lax.pmean(grads, AXIS)
        metrics |= critic_metrics
        metrics["grad_norm_discriminators"] = optax.tree.norm(grads)
        discriminators, discriminator_opt = update(state.discriminators, state.discriminator_opt, grads, rate)

        batch_size = n * devices
        updates = (state.images // batch_size).astype(jnp.float32)
        # The ramp forgets the initialisation early on; after it the half-life counts, in images.
        decay = jnp.minimum(0.5 ** (batch_size / config.train.ema_halflife), (1 + updates) / (10 + updates))
        ema = jax.tree.map(lambda e, p: decay * e + (1 - decay) * p, state.ema, generators)

        metrics = jax.lax.pmean(metrics, AXIS) | {"learning_rate": rate}
        state = TrainState(
            images=state.images + batch_size,
            key=state.key,
            generators=generators,
            discriminators=discriminators,
            ema=ema,
            generator_opt=generator_opt,
            discriminator_opt=discriminator_opt,
        )
        return state, {"x": pool_x, "y": pool_y}, metrics

    return device_step


def _accumulate(
    grad_fn: Callable[[Any], tuple[Params, tuple[dict[str, jax.Array], Metrics]]], batch: Any, parts: int
) -> tuple[Params, tuple[dict[str, jax.Array], Metrics]]:
    """grad_fn over `parts` equal parts of the batch: mean gradients and metrics, all images in order."""
    if parts == 1:
        return grad_fn(batch)
    stacked = jax.tree.map(lambda a: a.reshape(parts, -1, *a.shape[1:]), batch)

    def add_part(total: Any, part: Any) -> tuple[Any, dict[str, jax.Array]]:
        grads, (images, metrics) = grad_fn(part)
        return jax.tree.map(jnp.add, total, (grads, metrics)), images

    grads, (_, metrics) = jax.eval_shape(grad_fn, jax.tree.map(lambda a: a[0], stacked))
    zeros = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), (grads, metrics))
    # Unrolled on a CPU: within a loop, XLA's gradients of kernels take 15 times as long (jax 0.10.2).
    total, images = jax.lax.scan(add_part, zeros, stacked, unroll=on_cpu())
    grads, metrics = jax.tree.map(lambda a: a / parts, total)
    return grads, (jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), images), metrics)
