# SPDX-License-Identifier: Apache-2.0
"""The commands that train: one run, by one process or several, a table of them, or a comparison."""

import argparse
import contextlib
from pathlib import Path
from typing import Any

import jax

from ssl_jax import config, parallel, run, weights
from ssl_jax.claim import check_start
from ssl_jax.cli import recipes
from ssl_jax.cli.console import Console
from ssl_jax.cli.format import complain
from ssl_jax.compare import compare as comparison
from ssl_jax.compare import suite as suites
from ssl_jax.experiment import Experiment, Suite
from ssl_jax.report import summary
from ssl_jax.types import UserError
from ssl_jax.workdir import MEETING, Workdir


def pretrain(args: argparse.Namespace, console: Console) -> int:
    with _meeting(args, console) as meeting:
        experiment, source = recipes.load(args, console)
        return _train(args, console, experiment, source, meeting)


def finetune(args: argparse.Namespace, console: Console) -> int:
    with _meeting(args, console) as meeting:
        recipe, source, name = config.load_recipe(args.recipe, expect=(Experiment, Suite))
        if isinstance(recipe, Experiment):
            recipe = recipes.with_data(recipe, args)
            if args.seeds is None:
                place = None if args.fresh else Workdir(args.workdir)
                experiment = weights.settle(recipe, args.start_from, args.sets, place, console)
                return _train(args, console, experiment, source, meeting)
            recipe = suites.of_one(name, recipe)
        if args.fresh:
            raise UserError(f"--fresh is for a single run; to begin a table anew remove {args.workdir}")
        if meeting:
            raise UserError("one process makes a table of several runs; start its runs one by one in several")
    suites.finetune(
        recipe,
        source,
        start=args.start_from,
        data=args.data,
        only=args.only.split(",") if args.only else (),
        num_seeds=args.seeds or 1,
        sets=args.sets,
        folder=args.workdir,
        console=console,
    )
    return 0


def compare(args: argparse.Namespace, console: Console) -> int:
    experiment, source, name = config.load_recipe(args.recipe, expect=Experiment)
    comparison.compare(
        recipes.with_data(experiment, args),
        source,
        start=args.start_from,
        against=args.against,
        shares=args.labels,
        num_seeds=args.seeds,
        frozen=not args.no_frozen,
        sets=args.sets,
        folder=args.workdir or Path("runs") / f"compare-{name}",
        console=console,
    )
    return 0


def _meeting(args: argparse.Namespace, console: Console) -> Any:
    """Where several processes meet; None for one, and where only jax can find out which this is."""
    args.workdir = args.workdir or Path("runs") / config.name_of(args.recipe)  # and place of an error.log
    seat = parallel.seat(args.coordinator, args.num_processes, args.process_id, auto=args.distributed)
    if seat is None:
        return contextlib.nullcontext()
    return parallel.Meeting(
        args.workdir / MEETING,
        seat,
        seconds=60 * args.rendezvous_minutes,
        say=console.warn,
        complain=complain,
    )


def _train(
    args: argparse.Namespace,
    console: Console,
    experiment: Experiment,
    source: str,
    meeting: parallel.Meeting | None,
) -> int:
    if experiment.loop.deterministic:
        run.choose_deterministic_kernels()
    timeout = {}
    if meeting:
        first = meeting.seat.process == 0
        prepare = recipes.prepare_command(args)
        meeting.attend(check_start(experiment, args.workdir, prepare, first_process=first, fresh=args.fresh))
    elif args.distributed:
        timeout = {"timeout_seconds": 60 * args.rendezvous_minutes}
    several = parallel.initialize(
        args.coordinator, args.num_processes, args.process_id, auto=args.distributed, **timeout
    )  # first: nothing may use a device before it
    if meeting:
        meeting.close()
    speaks = not several or jax.process_index() == 0
    console.quiet = not speaks
    status = run.main(
        experiment,
        args.workdir,
        console=console,
        recipe_source=source,
        branch=getattr(args, "branch", None),
        fresh=args.fresh,
    )
    if status == 0 and speaks:
        summary.finish(args.workdir, console)
    return status
