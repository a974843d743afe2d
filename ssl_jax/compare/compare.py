# SPDX-License-Identifier: Apache-2.0
"""What did pretraining buy?  One task from several starts: same data, same seeds, same schedule."""

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.compare.runs import Done, Over, Planned, carry_out, curve, refuse_sets, seeded
from ssl_jax.experiment import Experiment
from ssl_jax.loop.seal import write_atomically
from ssl_jax.report import chart
from ssl_jax.report.png import png
from ssl_jax.source import find
from ssl_jax.tasks.base import shown
from ssl_jax.types import UserError
from ssl_jax.weights import SCRATCH
from ssl_jax.workdir import write_json

FROZEN = ("trunk.*",)


@dataclass(frozen=True)
class Arm:
    """One start.  frozen: its trunk rests, and the heads alone learn."""

    name: str
    start: str
    frozen: bool = False


def arms_of(start: str, against: Sequence[str], frozen: bool) -> list[Arm]:
    """The arms in the order of the table.  Raises UserError for the same MODEL twice."""
    arms = [Arm(label(start), start)]
    if frozen:
        arms.append(Arm(f"{label(start)}, trunk frozen", start, frozen=True))
    for other in against:
        arms.append(Arm(label(other), f"{SCRATCH}:{start}" if other == SCRATCH else other))
    names = [arm.name for arm in arms]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"{twice[0]} is named twice; compare different starts")
    for arm in arms:
        find(arm.start.removeprefix(f"{SCRATCH}:"))  # before hours of training
    return arms


def label(model: str) -> str:
    return model if model == SCRATCH else Path(model).name


def plan(
    experiment: Experiment, arms: Sequence[Arm], shares: Sequence[float], num_seeds: int, folder: Path
) -> Iterator[tuple[tuple[float, str], Planned]]:
    """((share of the labels, arm), run) for every run of the comparison."""
    for share, arm, seed in itertools.product(shares, arms, range(num_seeds)):
        task = dataclasses.replace(experiment.task, train_share=share * experiment.task.train_share)
        one = seeded(dataclasses.replace(experiment, task=task), seed)
        if arm.frozen:
            one = dataclasses.replace(one, optim=dataclasses.replace(one.optim, frozen=FROZEN))
        where = folder / f"{share:g}" / arm.name.replace(", trunk ", "-").replace("/", "_") / f"seed{seed}"
        name = f"{arm.name}, {share:.0%} of the labels, seed {one.seed}"
        yield (share, arm.name), Planned(name, one, arm.start, where)


def compare(
    experiment: Experiment,
    source: str,
    *,
    start: str,
    against: Sequence[str],
    shares: Sequence[float],
    num_seeds: int,
    frozen: bool,
    sets: Sequence[str],
    folder: Path,
    console: Any,
) -> None:
    """Makes every run, then prints the table and writes `comparison.svg`, `.png` (with the extra [plot]) and
    `comparison.json`."""
    refuse_sets(sets, ("seed", "init", "task.train_share", "optim.frozen"))
    arms = arms_of(start, against, frozen)
    cells: dict[tuple[float, str], list[Done]] = {}
    planned = list(plan(experiment, arms, shares, num_seeds, folder))
    for number, (cell, one) in enumerate(planned):
        console.progress("compare", number, len(planned), "runs")
        cells.setdefault(cell, []).append(carry_out(one, sets, source, console))
    console.progress("compare", len(planned), len(planned), "runs")
    metric = experiment.task.metric
    table = {cell: Over(tuple(done.chosen[metric] for done in runs)) for cell, runs in cells.items()}
    show(table, arms, shares, metric, num_seeds, console)
    pictures = [
        panel
        for share in shares
        for panel in (
            panel_of(cells, arms, share, "loss", f"training loss, {share:.0%} of the labels"),
            panel_of(cells, arms, share, metric, f"{shown(metric)} on dev, {share:.0%}"),
        )
    ]
    write_json(folder / "comparison.json", as_json(cells, table, metric))
    console.print(f"\n  all numbers: {folder / 'comparison.json'}")
    draw(chart.svg(pictures, width=560, height=320, columns=2), folder / "comparison", console)


def draw(svg: str, path: Path, console: Any) -> None:
    """The picture as SVG and, where the extra is there, as PNG."""
    write_atomically(path.with_suffix(".svg"), svg)
    console.print(f"  picture: {path.with_suffix('.svg')}")
    try:
        picture = png(svg)
    except UserError as error:
        return console.print(f"  {error}")
    write_atomically(path.with_suffix(".png"), picture.data)
    console.print(f"  picture: {path.with_suffix('.png')}")
    if picture.missing:
        console.warn(f"no font here has {picture.missing}, which the PNG lacks; the SVG has all of it")


def panel_of(cells: Any, arms: Sequence[Arm], share: float, name: str, title: str) -> chart.Panel:
    """A metric against steps: the mean over seeds, and one standard deviation to each side."""
    series = []
    for arm in arms:
        points = curve(cells[share, arm.name], name)
        band = [(step, over.mean - over.std, over.mean + over.std) for step, over in points]
        series.append(chart.Series(arm.name, [(step, over.mean) for step, over in points], band))
    return chart.Panel(title, series)


def show(
    table: dict[tuple[float, str], Over],
    arms: Sequence[Arm],
    shares: Sequence[float],
    metric: str,
    num_seeds: int,
    console: Any,
) -> None:
    rows = []
    for share in shares:
        first = table[share, arms[0].name]
        for arm in arms:
            over = table[share, arm.name]
            gain = None if arm is arms[0] else first.mean - over.mean
            rows.append([f"{share:.0%}", arm.name, over.mean, over.std, over.median, over.best, gain])
    console.table(
        f"{shown(metric)} on dev, {num_seeds} seed{'s' * (num_seeds > 1)} each",
        rows,
        header=["labels", "start", "mean", "std", "median", "best", f"{arms[0].name} is better by"],
    )


def as_json(cells: Any, table: dict[tuple[float, str], Over], metric: str) -> list[dict[str, Any]]:
    return [
        {
            "labels": share,
            "start": arm,
            "metric": metric,
            "mean": table[share, arm].mean,
            "std": table[share, arm].std,
            "runs": [{"workdir": str(d.workdir), "seed": d.seed, "step": d.step, **d.chosen} for d in runs],
        }
        for (share, arm), runs in cells.items()
    ]
