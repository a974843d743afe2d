# SPDX-License-Identifier: Apache-2.0
"""The loop: a generator of StepInfo, and the hooks that watch it.

Metrics are fetched one step late, so that the device always has its next step; where a hook wants the state
(to save, to evaluate), the step is finished first.
"""

import dataclasses
import enum
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import jax

from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.state import State
from ssl_jax.optim import Length, steps_of
from ssl_jax.types import UserError


@dataclass(frozen=True)
class Steps:
    n: int


@dataclass(frozen=True)
class Tokens:
    n: int


@dataclass(frozen=True)
class Epochs:
    n: float


def num_steps(duration: Steps | Tokens | Epochs, batch_size: int, num_rows: int, num_tokens: int) -> int:
    """A duration in steps, given an epoch's rows and its tokens that aren't padding.  Rounded up."""
    match duration:
        case Steps(n=n):
            steps = n
        case Tokens(n=n):
            steps = -(-n * num_rows // (num_tokens * batch_size))
        case Epochs(n=n):
            steps = int(-(-n * num_rows // batch_size))
    if steps < 1:
        raise UserError(f"loop.duration is {duration}, which is no step at all; give at least one")
    return steps


def check_interval(where: str, length: Length) -> None:
    """Raises UserError where nothing can happen every so often."""
    if not (0 < length < 1 if isinstance(length, float) else length >= 1):
        raise UserError(f"{where}={length} is neither a number of steps (1, 2, ...) nor a fraction below 1.0")


def interval(every: Length, num_steps: int) -> int:
    """Steps between two of what happens every so often in a run of num_steps."""
    return max(1, steps_of(every, num_steps))


class MicroBatch(enum.Enum):
    """AUTO: the most rows that fit, found by compiling; where not even one does, with remat.

    It is found anew at each start: for runs that are equal bit for bit, name the number that it prints.
    """

    AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class Loop:
    """The recipe's loop section.

    batch_size: rows of the global batch.  micro_batch: rows that one shard of the batch takes at a time
    (None: all of them); the rest is accumulation, exact.  deterministic: GPU kernels without atomics.
    """

    duration: Steps | Tokens | Epochs = field(metadata={"branch": True})
    batch_size: int = field(metadata={"branch": True})
    micro_batch: int | MicroBatch | None = field(default=None, metadata={"free": True})
    log_every: int = field(default=10, metadata={"free": True})
    guards: tuple[NonFinite, ...] = field(default=(NonFinite(),), metadata={"branch": True})
    deterministic: bool = field(default=False, metadata={"free": True})
    data_threads: int = field(default=2, metadata={"free": True})

    set_aliases: ClassVar[dict[str, Callable[[Any, Any], Any]]] = {}


def steps_alias(loop: Loop, num_steps: int) -> Loop:
    """--set loop.num_steps=200 says loop.duration=Steps(200)."""
    return dataclasses.replace(loop, duration=Steps(num_steps))


Loop.set_aliases["num_steps"] = steps_alias


@dataclass(frozen=True)
class Metrics:
    """More metrics for this step, from a hook."""

    values: dict[str, float]


@dataclass(frozen=True)
class Stop:
    """End the run after this step.  status is the exit status of the command."""

    reason: str
    status: int


@dataclass
class StepInfo:
    """One finished step.  state is there only where a hook asked for it."""

    step: int  # updates done, this one included
    rows: tuple[int, int]  # the global rows [a, b) of its batch
    metrics: dict[str, Any]
    state: State | None
    seconds: float  # wall time of the step, waiting for data included, hooks excluded
    wait: float  # of which waiting for data
    stop: Stop | None = None


class Hook(Protocol):
    def needs_state(self, step: int) -> bool: ...
    def __call__(self, info: StepInfo) -> Metrics | Stop | None: ...


def fetched(metrics: dict[str, Any]) -> dict[str, Any]:
    """Device scalars as Python numbers; a float32 keeps all its bits in a Python float."""
    return {name: value.item() for name, value in jax.device_get(metrics).items()}


def train(
    step: Callable[[State, Any], tuple[State, dict[str, Any]]],
    state: State,
    batches: Iterator[Any],
    hooks: Sequence[Hook],
    *,
    first: int,
    last: int,
) -> Iterator[StepInfo]:
    """Steps first+1 .. last.  Ends early after an info whose stop is set; the last info has the state."""
    late: StepInfo | None = None
    mark = time.perf_counter()

    def finish(info: StepInfo) -> StepInfo:
        info.metrics = fetched(info.metrics)
        for hook in hooks:
            match hook(info):
                case Metrics(values=values):
                    info.metrics.update(values)
                case Stop() as stop:
                    info.stop = info.stop or stop
        return info

    for number in range(first + 1, last + 1):
        begin = time.perf_counter()
        batch = next(batches)
        wait = time.perf_counter() - begin
        with jax.transfer_guard("disallow"):
            state, metrics = step(state, batch.arrays)
        if late is not None:
            jax.block_until_ready(late.metrics)
        now = time.perf_counter()
        info = StepInfo(number, batch.rows, metrics, None, now - mark, wait)
        stop = None
        if late is not None:
            done = finish(late)
            stop = done.stop
            yield done
            late = None
        wanted = [
            hook.needs_state(number) for hook in hooks
        ]  # all are asked: they may agree across processes
        if stop or number == last or any(wanted):
            jax.block_until_ready(metrics)
            info.seconds += time.perf_counter() - now
            info.state, info.stop = state, stop
            done = finish(info)
            yield done
            if done.stop:
                return
        else:
            late = info
        mark = time.perf_counter()
