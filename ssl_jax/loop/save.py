# SPDX-License-Identifier: Apache-2.0
"""When to save: by steps, by the clock, at a stop and at the end."""

import time
from collections.abc import Mapping
from typing import Any

import jax

from ssl_jax.loop.checkpoint import Checkpointer
from ssl_jax.loop.loop import StepInfo, interval
from ssl_jax.loop.trackers import plain


class Save:
    """The hook that saves: by steps, by minutes, and at a stop or the end."""

    def __init__(self, checkpointer: Checkpointer, *, first: int, last: int, meta: Mapping[str, Any]):
        self.checkpointer, self.config = checkpointer, checkpointer.config
        self.every, self.last, self.meta = interval(self.config.every, last), last, dict(meta)
        self.saved, self.clock = first, time.monotonic()
        self._due_at = -1  # the clock is asked once a step: all processes must hear the same answer

    def needs_state(self, step: int) -> bool:
        due = step % self.every == 0 or step == self.last
        if not due and self.config.minutes is not None:
            late = time.monotonic() - self.clock >= 60 * self.config.minutes
            due = agreed(late, step) if jax.process_count() > 1 else late
        self._due_at = step if due else self._due_at
        return due

    def __call__(self, info: StepInfo) -> None:
        self.checkpointer.poll()
        due = info.stop is not None or self._due_at == info.step
        diverged = info.stop is not None and info.stop.status == 3
        if info.state is None or not due or diverged or info.step == self.saved:
            return
        meta = {
            **self.meta,
            "step": info.step,
            "next_row": info.rows[1],
            "best": info.metrics.get(self.config.best),
            "measured": {name: plain(value) for name, value in info.metrics.items() if "/" in name},
        }
        self.checkpointer.save(info.step, info.state, meta)
        self.saved, self.clock = info.step, time.monotonic()


AGREE_EVERY = 16  # steps between two agreements on the clock, when there are several processes


def agreed(mine: bool, step: int) -> bool:
    """Process 0's opinion, asked every AGREE_EVERY steps: all processes must save at the same step."""
    if step % AGREE_EVERY:
        return False
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(mine)))
