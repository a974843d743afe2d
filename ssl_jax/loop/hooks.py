# SPDX-License-Identifier: Apache-2.0
"""The hooks every run has: evaluate, judge, log, stop on a signal.  Saving is in save.py."""

import math
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from ssl_jax.loop.guards import Guard
from ssl_jax.loop.loop import Metrics, StepInfo, Stop, check_interval, interval
from ssl_jax.loop.state import State
from ssl_jax.loop.trackers import Copies, JsonLines
from ssl_jax.optim import Length


@dataclass(frozen=True, kw_only=True)
class Evals:
    """The recipe's evals section: how often the held-out side is measured (steps, or a fraction of the run),
    before the first step and after the last one included.  max_rows bounds a large held-out side (None: all
    of it); batch_size None is that of a training micro-batch.  patience: evaluations without a better
    checkpoint.best after which the run is done (None: never).
    """

    every: Length | None = None
    max_rows: int | None = None
    batch_size: int | None = None
    patience: int | None = None

    def __post_init__(self):
        if self.every is not None:
            check_interval("evals.every", self.every)


def averages(results: Iterable[Mapping[str, Any]], coefs: Mapping[str, float]) -> dict[str, float]:
    """Term -> total / weight over all batches, added in float64, and their weighted sum as loss."""
    totals: dict[str, float] = {}
    weights: dict[str, float] = {}
    for result in results:
        fetched = jax.device_get({"totals": result["totals"], "weights": result["weights"]})
        for name in fetched["totals"]:
            totals[name] = totals.get(name, 0.0) + float(np.float64(fetched["totals"][name]))
            weights[name] = weights.get(name, 0.0) + float(np.float64(fetched["weights"][name]))
    means = {name: totals[name] / weights[name] if weights[name] > 0 else math.nan for name in totals}
    return {"loss": sum(coefs[n] * means[n] for n in means if coefs[n] != 0.0), **means}


class Evaluate:
    """Measures what is held out every so often and at the end.  measure: state -> `heldout/loss` and
    more."""

    def __init__(self, measure: Callable[[State], dict[str, float]], *, every: Length | None, last: int):
        self.measure, self.last = measure, last
        self.every = None if every is None else interval(every, last)

    def needs_state(self, step: int) -> bool:
        return step == self.last or (self.every is not None and step % self.every == 0)

    def __call__(self, info: StepInfo) -> Metrics | None:
        if info.state is None or not self.needs_state(info.step):
            return None
        return Metrics(self.measure(info.state))


class Patience:
    """Stops the run, as finished, when a metric has not become better in so many evaluations.

    logged: the lines of metrics.jsonl so far, so that a resumed run stops where the undisturbed one would.
    """

    def __init__(
        self,
        metric: str,
        *,
        evaluations: int,
        higher_is_better: bool,
        logged: Iterable[Mapping[str, Any]] = (),
    ):
        self.metric, self.evaluations = metric, evaluations
        self._sign = -1.0 if higher_is_better else 1.0
        self._best, self._since = math.inf, 0
        for line in logged:
            self._look(line)

    @property
    def ran_out(self) -> bool:
        return self._since >= self.evaluations

    def _look(self, metrics: Mapping[str, Any]) -> None:
        if self.metric in metrics:
            value = self._sign * float(metrics[self.metric])  # the log says "nan", which is never better
            self._best, self._since = (value, 0) if value < self._best else (self._best, self._since + 1)

    def needs_state(self, step: int) -> bool:
        return False

    def __call__(self, info: StepInfo) -> Stop | None:
        self._look(info.metrics)
        if not self.ran_out:
            return None
        return Stop(f"{self.metric} has not become better in {self._since} evaluations: done early", 0)


class Judge:
    """Stops the run when a guard has seen enough."""

    def __init__(self, guards: tuple[Guard, ...]):
        self.guards = guards

    def needs_state(self, step: int) -> bool:
        return False

    def __call__(self, info: StepInfo) -> Stop | None:
        for guard in self.guards:
            if reason := guard.verdict(info.metrics):
                return Stop(f"diverged at step {info.step}: {reason}", 3)
        return None


class Signals:
    """SIGTERM finishes the step, saves and leaves with 75; Ctrl-C with 130; a second one leaves at once.

    With several processes JAX's own SIGTERM notice is used, which all of them hear at one and the same step,
    and Ctrl-C is left to the launcher.
    """

    STATUS: ClassVar = {signal.SIGTERM: 75, signal.SIGINT: 130}

    def __init__(self):
        self._caught: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self):
        if threading.current_thread() is threading.main_thread() and jax.process_count() == 1:
            for number in self.STATUS:
                self._before[number] = signal.signal(number, self._catch)
        return self

    def __exit__(self, *_):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _catch(self, number, frame):
        if self._caught is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self._caught = number

    def needs_state(self, step: int) -> bool:
        if jax.process_count() > 1:
            from jax.experimental import multihost_utils

            if multihost_utils.reached_preemption_sync_point(step):
                self._caught = signal.SIGTERM
        return self._caught is not None

    def __call__(self, info: StepInfo) -> Stop | None:
        if self._caught is None or info.state is None:
            return None
        name = signal.Signals(self._caught).name
        reason = f"{name}: stopped after step {info.step}; the same command goes on from here"
        return Stop(reason, self.STATUS[self._caught])


class Log:
    """Writes metrics.jsonl and its copies, and adds what only the host knows: speed and waiting.

    tokens_per_row: mean tokens of a row that aren't padding.  flops_per_row, peak: for MFU, where known.
    It stands before Save in the list of hooks, so that a checkpoint never knows a step that the log doesn't.
    """

    def __init__(
        self,
        lines: JsonLines | None,
        copies: Copies | None,
        show: Callable[[StepInfo], None],
        *,
        every: int,
        last: int,
        tokens_per_row: float,
        flops_per_row: float | None,
        peak: float | None,
    ):
        self.lines, self.copies, self.show = lines, copies, show
        self.every, self.last = every, last
        self.tokens_per_row, self.flops_per_row, self.peak = tokens_per_row, flops_per_row, peak
        self._seconds = self._wait = 0.0
        self._rows = 0

    def needs_state(self, step: int) -> bool:
        return False

    def __call__(self, info: StepInfo) -> Metrics | None:
        self._seconds += info.seconds
        self._wait += info.wait
        self._rows += info.rows[1] - info.rows[0]
        # A run that was told to stop logs nothing that the undisturbed run wouldn't; one that diverged does.
        diverged = info.stop is not None and info.stop.status == 3
        due = info.step % self.every == 0 or info.step == self.last or diverged
        if not due and not any(name.startswith("heldout/") for name in info.metrics):
            return None
        rows_per_second = self._rows / max(self._seconds, 1e-9)
        speed = {
            "tokens_per_s": rows_per_second * self.tokens_per_row,
            "data_wait": self._wait / max(self._seconds, 1e-9),
        }
        if self.flops_per_row is not None and self.peak is not None:
            speed["mfu"] = rows_per_second * self.flops_per_row / (self.peak * jax.device_count())
        self._seconds = self._wait = 0.0
        self._rows = 0
        info.metrics.update(speed)
        values = {**info.metrics, "rows": list(info.rows)}
        if self.lines is not None:
            self.lines.write(info.step, values)
        if self.copies is not None:
            self.copies.write(info.step, info.metrics)
        self.show(info)
        return None
