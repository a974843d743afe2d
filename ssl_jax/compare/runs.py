# SPDX-License-Identifier: Apache-2.0
"""Runs of one table: carried out one after another, each in a workdir of its own, and read back.

A run that is finished is not done again; one that was interrupted goes on.
"""

import dataclasses
import functools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax import run
from ssl_jax.experiment import Experiment
from ssl_jax.loop.trackers import read_lines
from ssl_jax.report import summary
from ssl_jax.source import find_saved
from ssl_jax.tasks.base import shown
from ssl_jax.types import UserError
from ssl_jax.weights import settle
from ssl_jax.workdir import Workdir, read_json, write_json


@dataclass(frozen=True)
class Planned:
    """A run to be made from start: a MODEL, scratch or scratch:MODEL."""

    name: str
    experiment: Experiment
    start: str | None
    workdir: Path


@dataclass(frozen=True)
class Done:
    """A finished run.  chosen: the metrics of the step that its workdir, as a MODEL, stands for."""

    workdir: Path
    seed: int
    lines: Sequence[dict[str, Any]]
    chosen: dict[str, float]
    step: int


class Hushed:
    """A console without the lines that each run prints of itself: progress and warnings remain."""

    def __init__(self, console: Any):
        self.progress, self.step, self.status = console.progress, console.step, console.status
        self.warn = console.warn

    def print(self, text: str = "") -> None:
        pass


def refuse_sets(sets: Sequence[str], varied: Sequence[str]) -> None:
    """Raises UserError for a --set of what the table itself varies from run to run."""
    for text in sets:
        if (path := text.partition("=")[0].strip()) in varied:
            raise UserError(f"--set {text}: the table varies {path} from run to run by itself")


def same_start(planned: Planned) -> None:
    """Raises UserError where the run in this place was started from something else."""
    record = planned.workdir.parent / "starts.json"
    known = read_json(record)
    before = known.setdefault(planned.workdir.name, planned.start)
    if before != planned.start:
        raise UserError(
            f"{planned.workdir} was started from {before}, not from {planned.start}; take another --workdir"
        )
    planned.workdir.parent.mkdir(parents=True, exist_ok=True)
    write_json(record, known)


def carry_out(planned: Planned, sets: Sequence[str], source: str, console: Any) -> Done:
    """Makes the run, or takes what is there.  Raises SystemExit with the status of a run that stopped early,
    so that Ctrl-C ends the whole table, and the same command goes on with it."""
    same_start(planned)
    place = Workdir(planned.workdir)
    experiment = settle(planned.experiment, planned.start, sets, place, Hushed(console))
    is_new = not place.summary()
    if experiment.loop.deterministic:
        run.choose_deterministic_kernels()
    status = run.main(experiment, planned.workdir, console=Hushed(console), recipe_source=source)
    if status == 3:
        console.warn(f"{planned.name} diverged; remove {planned.workdir.parent}, and lower optim.peak_lr")
    if status:
        raise SystemExit(status)
    summary.keep(place)
    done = read(planned.workdir)
    if is_new:
        metric = experiment.task.metric
        console.print(f"{planned.name}: {shown(metric)} {done.chosen[metric]:.4f} (step {done.step})")
    return done


def read(workdir: Path) -> Done:
    """A finished run, read from its workdir alone."""
    place = Workdir(workdir)
    step = find_saved(str(workdir)).step
    lines = read_lines(place.metrics)
    at = next((line for line in lines if line["step"] == step), {})
    chosen = {name: value for name, value in at.items() if "/" in name and isinstance(value, float)}
    return Done(workdir, place.experiment().seed, lines, chosen, step)


def seeded(experiment: Experiment, seed: int) -> Experiment:
    return dataclasses.replace(experiment, seed=experiment.seed + seed)


# ---------------------------------------------------------------------------------------- over seeds


@dataclass(frozen=True)
class Over:
    """One number over seeds.  std: of a sample (n - 1); 0 where there is one seed."""

    values: tuple[float, ...]

    def __post_init__(self):
        if not self.values:
            raise UserError("no run has measured this yet")

    @functools.cached_property
    def mean(self) -> float:
        return statistics.fmean(self.values)

    @functools.cached_property
    def std(self) -> float:
        return statistics.stdev(self.values) if len(self.values) > 1 else 0.0

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def best(self) -> float:
        return max(self.values)


def curve(runs: Sequence[Done], name: str) -> list[tuple[int, Over]]:
    """(step, the metric over those runs) at the steps that all of them logged."""
    by_step: dict[int, list[float]] = {}
    for done in runs:
        for line in done.lines:
            if isinstance(line.get(name), float):
                by_step.setdefault(line["step"], []).append(line[name])
    return [(step, Over(tuple(v))) for step, v in sorted(by_step.items()) if len(v) == len(runs)]
