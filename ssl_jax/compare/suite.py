# SPDX-License-Identifier: Apache-2.0
"""A suite of tasks, several seeds each, as one table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_jax.compare.runs import Done, Over, Planned, carry_out, refuse_sets, seeded
from ssl_jax.experiment import Experiment, Member, Suite
from ssl_jax.tasks.base import CONSTANT, shown
from ssl_jax.types import UserError
from ssl_jax.workdir import write_json


def of_one(name: str, experiment: Experiment) -> Suite:
    """A single task as a suite: for several seeds of it."""
    return Suite(members=(Member(name=name, experiment=experiment),), averaged=(), average="")


def chosen(suite: Suite, only: Sequence[str]) -> list[Member]:
    """The members asked for, all by default.  Raises UserError for a name that is none."""
    names = [member.name for member in suite.members]
    if unknown := [name for name in only if name not in names]:
        raise UserError(f"there is no task {unknown[0]}; the suite has {', '.join(names)}")
    return [member for member in suite.members if not only or member.name in only]


def finetune(
    suite: Suite,
    source: str,
    *,
    start: str | None,
    data: str | None,
    only: Sequence[str],
    num_seeds: int,
    sets: Sequence[str],
    folder: Path,
    console: Any,
) -> None:
    """Fine-tunes each member with each seed, then prints the table and writes `suite.json`.

    A member with `after` runs a second time from what the other member of the same seed learnt, where that
    one is asked for too.
    """
    refuse_sets(sets, ("seed", "init"))
    members = chosen(suite, only)
    # Who starts from another comes after it.
    order = sorted(members, key=lambda member: member.after is not None)
    names = [member.name for member in members]
    results: dict[str, list[Done]] = {name: [] for name in names}
    second: dict[str, list[Done]] = {m.name: [] for m in members if m.after in names}
    number, total = 0, num_seeds * (len(members) + len(second))
    for seed in range(num_seeds):
        for member in order:
            experiment = seeded(member.experiment, seed)
            if data is not None:
                task = dataclasses.replace(experiment.task, data=data)
                experiment = dataclasses.replace(experiment, task=task)
            columns = [(results, start, member.name)]
            if member.name in second:
                first = folder / member.after / f"seed{seed}"
                columns.append((second, str(first), f"{member.name}-after-{member.after}"))
            for column, begin, name in columns:
                console.progress("runs", number, total, "runs")
                planned = Planned(
                    f"{name}, seed {experiment.seed}", experiment, begin, folder / name / f"seed{seed}"
                )
                column[member.name].append(carry_out(planned, sets, source, console))
                number += 1
    console.progress("runs", total, total, "runs")
    show(suite, members, results, second, num_seeds, console)
    write_json(folder / "suite.json", as_json(members, results, second))


def show(
    suite: Suite,
    members: Sequence[Member],
    results: dict[str, list[Done]],
    second: dict[str, list[Done]],
    num_seeds: int,
    console: Any,
) -> None:
    rows = []
    for member in members:
        runs = results[member.name]
        for name in member.experiment.task.metrics:
            over, after = Over(tuple(r.chosen[name] for r in runs)), second.get(member.name)
            other = Over(tuple(r.chosen[name] for r in after)).mean if after else None
            degenerate = sum(r.chosen.get(f"{name.partition('/')[0]}/{CONSTANT}", 0.0) > 0 for r in runs)
            rows.append(
                [member.name, shown(name), over.mean, over.std, over.median, over.best, degenerate, other]
            )
    header = ["task", "metric", "mean", "std", "median", "best", "degenerate seeds"]
    afters = sorted({member.after for member in members if member.name in second})
    rows = rows if second else [row[:-1] for row in rows]
    console.table(
        f"dev, {num_seeds} seed{'s' * (num_seeds > 1)} each; degenerate: the same said of every example",
        rows,
        header=header + [f"mean, started from {', '.join(afters)}"] * bool(second),
    )
    averages(suite, results, console)


def averages(suite: Suite, results: dict[str, list[Done]], console: Any) -> None:
    """The averages, where all members that they need were run."""
    if not suite.averaged or any(name not in results for name in suite.averaged):
        return
    of = {member.name: member for member in suite.members}

    def mean(name: str) -> float:
        runs = results[name]
        per_metric = [Over(tuple(r.chosen[m] for r in runs)).mean for m in of[name].experiment.task.metrics]
        return sum(per_metric) / len(per_metric)

    console.print(f"\n  average {sum(map(mean, suite.averaged)) / len(suite.averaged):.4f}: {suite.average}")
    rest = [name for name in results if name not in suite.averaged]
    if rest and len(results) == len(suite.members):
        console.print(f"  average {sum(map(mean, results)) / len(results):.4f}: with {', '.join(rest)} too")


def as_json(
    members: Sequence[Member], results: dict[str, list[Done]], second: dict[str, list[Done]]
) -> list[dict[str, Any]]:
    return [
        {"task": member.name, "started_from": start, "seed": r.seed, "workdir": str(r.workdir), **r.chosen}
        for member in members
        for start, column in (("MODEL", results), (member.after, second))
        for r in column.get(member.name, ())
    ]
