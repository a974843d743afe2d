# SPDX-License-Identifier: Apache-2.0
"""A run, from a recipe to its last checkpoint: pretraining, and fine-tuning likewise.

`main` reads as the walk of one batch.
"""

import collections
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

import jax

from ssl_jax import data, hf, optim, parallel
from ssl_jax.assemble import Setup, assemble
from ssl_jax.claim import branch_of, check_identity, claim, demand_corpus, facts
from ssl_jax.experiment import Experiment
from ssl_jax.loop import flops
from ssl_jax.loop.checkpoint import Checkpointer, Restored
from ssl_jax.loop.hooks import Evaluate, Judge, Log, Patience, Signals
from ssl_jax.loop.kept import saved_steps
from ssl_jax.loop.loop import StepInfo, Stop, train
from ssl_jax.loop.save import Save
from ssl_jax.loop.state import State, born
from ssl_jax.loop.trackers import Copies, JsonLines, cut_after, read_lines
from ssl_jax.plan.start import advised, fitted, outlook
from ssl_jax.program import meta_of
from ssl_jax.source import Source, find, find_saved
from ssl_jax.tasks.corpus import TaskData, open_task
from ssl_jax.types import Meta
from ssl_jax.weights import adopt, branch_point, fitting
from ssl_jax.workdir import Workdir


def choose_deterministic_kernels() -> None:
    """GPU kernels without atomics, for bit for bit equal runs.  Before anything uses a device."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()


def main(
    experiment: Experiment,
    workdir: Path,
    *,
    console: Any,
    recipe_source: str | None = None,
    branch: str | None = None,
    fresh: bool = False,
) -> int:
    """Runs, or goes on with, the run in workdir.  Returns the exit status: 0 done, 3 diverged, 75, 130."""
    place = Workdir(workdir)
    first_process = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        with parallel.together():
            if first_process:
                place.lock()
                stack.callback(place.unlock)
            resuming = claim(place, experiment, recipe_source, fresh=fresh, console=console)
            branch = branch_of(place, branch)
            if not saved_steps(place.checkpoints):
                for model in filter(None, (experiment.init, branch)):
                    find(model)  # before hours of preparing
        parallel.agree(**{name: json.dumps(value) for name, value in facts(experiment).items()})
        if resuming and place.summary():
            return 0

        if unseen := parallel.unseen_gpu():
            console.warn(unseen)
        with parallel.together():
            corpus = prepare(experiment, console)
            place.keep_tokenizer(corpus.tokenizer_dir) if first_process else None
        meta = meta_of(corpus, 1)
        with parallel.together():
            start = start_of(experiment, meta, place, branch)
            experiment = fitted(experiment, meta, console.status)
        stack.enter_context(advised(experiment, meta))
        with parallel.together():
            console.status("compiling the step")
            setup = assemble(experiment, corpus, resolved_of(place, branch), console.warn)
            check_identity(place, setup, corpus, branch, first_process)
        parallel.agree(data=corpus.fingerprint, plan=setup.plan.fingerprint)
        console.print(f"{describe(setup)}\n{outlook(setup)}")
        for feature in hf.inexpressible(experiment.model, experiment.objective):
            console.warn(f"export will refuse this model: no architecture of transformers has {feature}")
        decayed = optim.report(experiment.optim, setup.blueprint.axes, setup.blueprint.shapes.params)
        console.print(f"{decayed.splitlines()[-1]} (each leaf: {place.parameters})")
        if first_process:
            place.parameters.write_text(decayed + "\n", encoding="utf-8")

        checkpointer = Checkpointer(place.checkpoints, experiment.checkpoint)
        stack.push(lambda _, error, __: None if parallel.tells_of_a_loss(error) else checkpointer.close())
        with parallel.together():
            state, step, next_row = begin(setup, checkpointer, place, start, branch, console)
        stop = loop(setup, state, step, next_row, checkpointer, place, console)
        if stop is not None:
            console.warn(stop.reason) if stop.status == 3 else console.print(stop.reason)
            return stop.status
    return 0


def start_of(experiment: Experiment, meta: Meta, place: Workdir, branch: str | None) -> Source | None:
    """The MODEL whose weights a run that is born now starts from."""
    if experiment.init is None or branch is not None or saved_steps(place.checkpoints):
        return None
    return fitting(experiment.init, experiment, meta)


def resolved_of(place: Workdir, branch: str | None) -> dict[str, Any]:
    """What birth fixed: of this run or, before its own, of the run that it branches off."""
    if branch is None or place.resolved():
        return place.resolved()
    return {"vocab_shards": find_saved(branch).vocab_shards}


def prepare(experiment: Experiment, console: Any) -> data.Corpus | TaskData:
    """The task's examples, or the corpus, built if it isn't there.

    Several processes never build a corpus: one prepares it beforehand.
    """
    if experiment.task is not None:
        corpus = open_task(experiment.task, experiment.text, console.progress)
    elif jax.process_count() > 1:
        corpus = demand_corpus(experiment, "ssl-jax prepare RECIPE (with the same --set)")
    else:
        corpus = data.prepare(experiment.data, experiment.text, console.progress)
    console.print(corpus.report_text())
    return corpus


def describe(setup: Setup) -> str:
    """What will run, in a few lines."""
    layout, experiment = setup.layout, setup.bound.experiment
    count = sum(x.size for x in jax.tree.leaves(setup.blueprint.shapes.params))
    rows = f"{layout.batch_size} rows" + (
        f" in {layout.accumulation} micro-batches" * (layout.accumulation > 1)
    )
    device = jax.devices()[0]
    lines = [
        f"{count / 1e6:.1f} M parameters on {jax.device_count()} {device.device_kind} ({layout.axes})",
        f"{setup.num_steps} steps of {rows} x {experiment.objective.plan.length}; "
        f"compiled in {setup.compile_seconds:.1f} s",
        setup.plan.report(),
    ]
    return "\n".join(lines)


def begin(
    setup: Setup,
    checkpointer: Checkpointer,
    place: Workdir,
    start: Source | None,
    branch: str | None,
    console: Any,
) -> tuple[State, int, int]:
    """(state, steps done, next row), from the first of: this workdir, branch, start (--from), scratch."""
    blueprint, layout = setup.blueprint, setup.layout
    restored = checkpointer.restore(blueprint.shapes, blueprint.shardings)
    if restored is not None:
        return resume(restored, place, console)
    if jax.process_index() == 0:
        cut_after(place.metrics, -1)
    if branch is not None:
        there = branch_point(branch, setup, console)
        return there.state, there.step, there.meta["next_row"]
    state = born(blueprint, setup.bound.experiment.seed, layout.mesh, layout.rules)
    if start is not None:
        state = adopt(start, state, setup, console)
    return state, 0, 0


def resume(restored: Restored, place: Workdir, console: Any) -> tuple[State, int, int]:
    for reason in restored.skipped:
        console.warn(reason)
    lost = cut_after(place.metrics, restored.step) if jax.process_index() == 0 else 0
    proof = "verified" if restored.verified else "unverified: it was saved, but the run ended before its seal"
    again = f"; {lost} logged steps after it are done again" if lost else ""
    console.print(
        f"resuming {place.path} at step {restored.step} ({proof}), "
        f"data from row {restored.meta['next_row']}{again}"
    )
    return restored.state, restored.step, restored.meta["next_row"]


def loop(
    setup: Setup,
    state: State,
    first: int,
    next_row: int,
    checkpointer: Checkpointer,
    place: Workdir,
    console: Any,
) -> Stop | None:
    """Trains from step first to the end; returns why it stopped early, if it did."""
    last = setup.num_steps
    patience = patience_of(setup, place, first)
    if first >= last or (patience is not None and patience.ran_out):
        return None
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(Signals())
        hooks = [signals, *watchers(setup, state, first, patience, checkpointer, place, console, stack)]
        batches = setup.batches(next_row)
        stack.callback(batches.close)
        (end,) = collections.deque(train(setup.step, state, batches, hooks, first=first, last=last), maxlen=1)
        checkpointer.poll(wait=True)
    return end.stop


def patience_of(setup: Setup, place: Workdir, first: int) -> Patience | None:
    """The hook that ends a run early, if the recipe has one, knowing what was measured up to step first."""
    experiment = setup.bound.experiment
    if experiment.evals.patience is None:
        return None
    return Patience(
        experiment.checkpoint.best,
        evaluations=experiment.evals.patience,
        higher_is_better=experiment.checkpoint.higher_is_better,
        logged=[line for line in read_lines(place.metrics) if 0 < line["step"] <= first],
    )


def watchers(
    setup: Setup,
    state: State,
    first: int,
    patience: Patience | None,
    checkpointer: Checkpointer,
    place: Workdir,
    console: Any,
    stack: contextlib.ExitStack,
) -> list[Any]:
    """The hooks of every run, in order.  The log stands before the checkpoint, so that a checkpoint never
    knows a step that the log doesn't."""
    experiment, last = setup.bound.experiment, setup.num_steps
    main = jax.process_index() == 0
    lines = copies = None
    if main:
        lines = stack.enter_context(contextlib.closing(JsonLines(place.metrics)))
        copies = Copies(experiment.track, place.path, place.path.name, console.warn)
        stack.callback(copies.close)
    started = time.monotonic()

    def show(info: StepInfo) -> None:
        if main:
            left = (time.monotonic() - started) / max(1, info.step - first) * (last - info.step)
            console.step(info.step, last, info.metrics, left)

    evaluates = []
    if setup.heldout:
        evaluates = [Evaluate(setup.measure, every=experiment.evals.every, last=last)]
        evaluates += [patience] if patience is not None else []
        if first == 0:
            before = setup.measure(state)
            if lines is not None:
                lines.write(0, before)
    log = Log(
        lines,
        copies,
        show,
        every=experiment.loop.log_every,
        last=last,
        tokens_per_row=setup.tokens_per_row,
        flops_per_row=setup.flops_per_row,
        peak=flops.peak(jax.devices()[0]),
    )
    meta = {"plan": setup.plan.fingerprint, "num_steps": last}
    save = Save(checkpointer, first=first, last=last, meta=meta)
    return [Judge(experiment.loop.guards), *evaluates, log, save]
