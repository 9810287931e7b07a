"""Recording a few steps with the JAX profiler."""

from pathlib import Path

import jax

from bitmoji_jax.training.train_state import TrainState

WARM_UP_STEPS = 3  # the first compiles; the recording begins after these


class Profiler:
    """Records `steps` steps, after the warm-up, for TensorBoard or Perfetto."""

    def __init__(self, folder: Path, steps: int) -> None:
        """Writes the recording to `folder`; 0 steps record nothing."""
        self._folder = folder
        self._steps = steps
        self._seen = 0
        self._running = False

    def step(self, state: TrainState) -> None:
        """Starts or ends the recording where it is due. To be called before each step."""
        if self._steps and self._seen == WARM_UP_STEPS:
            jax.block_until_ready(state)
            jax.profiler.start_trace(self._folder)
            self._running = True
        if self._running and self._seen == WARM_UP_STEPS + self._steps:
            jax.block_until_ready(state)
            self.close()
        self._seen += 1

    def close(self) -> None:
        """Ends the recording if one is running."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
