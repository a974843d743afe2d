# SPDX-License-Identifier: Apache-2.0
"""Whether a run may begin, or go on: what its processes have alike, its corpus, its workdir and the record of
what it began with."""

import dataclasses
import platform
from pathlib import Path
from typing import Any

import jax

from ssl_jax import config, data, optim
from ssl_jax.assemble import Setup
from ssl_jax.experiment import Experiment
from ssl_jax.loop.kept import saved_steps
from ssl_jax.program import bind, meta_of
from ssl_jax.tasks.corpus import TaskData
from ssl_jax.types import UserError
from ssl_jax.workdir import Workdir, changed, read_json


def claim(place: Workdir, experiment: Experiment, source: str | None, *, fresh: bool, console: Any) -> bool:
    """Makes the workdir this run's own; True where it goes on with what is there."""
    if jax.process_index() != 0:
        return place.exists() and not fresh
    if place.is_foreign():
        raise UserError(f"{place.path} isn't empty and holds no run; choose another --workdir")
    if fresh or not place.is_begun():
        place.clear()  # a start that failed on its way to the first step binds nobody to its recipe
    resuming = place.exists()
    if resuming:
        if saved_steps(place.checkpoints):  # its start mattered at birth alone, and stays what it was
            begun = read_json(place.path / "config.json")
            experiment = dataclasses.replace(
                experiment, init=begun.get("init"), fresh_layers=begun.get("fresh_layers", 0)
            )
        free = place.refuse_changes(experiment, longer=may_lengthen(place, experiment))
        if free:
            console.print(f"changed since the run began: {changed(free)}")
        if any(c.path.startswith("loop.duration") for c in free):
            (place.path / "summary.json").unlink(missing_ok=True)
    place.record(experiment, source)
    return resuming


def may_lengthen(place: Workdir, experiment: Experiment) -> bool:
    """Whether the steps taken so far had the rates that they would have in a longer run."""
    steps = saved_steps(place.checkpoints)
    before = place.resolved().get("num_steps")
    return before is None or optim.extends_freely(
        experiment.optim.schedule, before, steps[-1] if steps else 0
    )


def branch_of(place: Workdir, branch: str | None) -> str | None:
    """What this run branches off, as its birth recorded it.  Raises UserError where that was another."""
    begun = place.resolved()
    if begun and branch not in (None, begun.get("branch")):
        raise UserError(
            f"{place.path} holds a run that did not branch off {branch}; "
            "name a workdir of its own with --workdir"
        )
    return begun.get("branch") if begun else branch


def check_identity(
    place: Workdir, setup: Setup, corpus: data.Corpus | TaskData, branch: str | None, first_process: bool
) -> None:
    """The data must be what the run began with; what birth resolved is recorded."""
    before = place.resolved()
    born = {
        "plan": setup.plan.fingerprint,
        "store": corpus.fingerprint if isinstance(corpus, TaskData) else corpus.train.fingerprint,
        "tokenizer": corpus.tokenizer.fingerprint,
        "vocab_shards": setup.bound.meta.vocab_shards,
        "num_rows": setup.plan.num_rows,
        "num_tokens": setup.plan.num_tokens,
        "labels": list(corpus.labels),
        "texts": corpus.texts,
        "num_steps": setup.num_steps,
        "corpus": str(corpus.dir),
        "branch": branch,
        "versions": versions(),
    }
    for name in ("store", "tokenizer", "plan"):
        if before and before[name] != born[name]:
            raise UserError(
                f"the {name} is not what {place.path} began with (fingerprint {before[name][:12]}, now "
                f"{born[name][:12]}): its sources changed. Restore them, or start anew with --fresh"
            )
    if first_process:
        place.resolve(born)


def demand_corpus(experiment: Experiment, command: str) -> data.Corpus:
    """The corpus, for one of several processes.

    command: what prepares it.  Raises UserError that names it, and its hours, where the corpus is not there.
    """
    if corpus := data.prepared(experiment.data, experiment.text):
        return corpus
    seconds, cores = data.estimate(experiment.data)
    hours = f"{seconds / 3600:.1f} h" if seconds > 360 else "minutes"
    raise UserError(
        "the corpus is not prepared, and several processes don't build it; run once, where all of them can "
        f"read it ({hours} on {cores} cores like ours, an estimate): {command}"
    )


def facts(experiment: Experiment) -> dict[str, Any]:
    """What all processes must begin with alike."""
    return {"versions": versions(), "recipe": config.to_json(experiment)}


def check_start(
    experiment: Experiment, workdir: Path, command: str, *, first_process: bool, fresh: bool
) -> dict[str, Any]:
    """What one of several processes can find out, and make, before it meets the others and claims a device.

    The order of the first epoch's rows is made here (a host's own, seconds for a billion tokens), so that no
    device waits for it.  command: what prepares the corpus.  Returns what all processes must have alike.
    """
    place = Workdir(workdir)
    if first_process:
        place.lock()
        place.unlock()
    if experiment.task is not None or (place.summary() and not fresh):
        return facts(experiment)
    corpus = demand_corpus(experiment, command)
    bound = bind(experiment, meta_of(corpus, 1))
    plan = bound.objective.plan.open(corpus.train, experiment.seed)
    plan[0]  # makes the first epoch
    return {**facts(experiment), "corpus": corpus.fingerprint, "plan": plan.fingerprint}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    packages = ("ssl_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain")
    return {"python": platform.python_version(), **{name: version(name) for name in packages}}
