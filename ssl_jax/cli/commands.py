# SPDX-License-Identifier: Apache-2.0
"""One function a command: arguments to an Experiment, then to the room that does it; returns its status."""

import argparse
from pathlib import Path
from typing import Any

import jax

from ssl_jax import config, data, parallel, run, weights
from ssl_jax.cli.console import Console
from ssl_jax.experiment import Experiment
from ssl_jax.report import inspect as inspection
from ssl_jax.report import summary
from ssl_jax.types import UserError
from ssl_jax.use import guess


def _recipe(reference: str, sets: list[str]) -> tuple[Experiment, str, str]:
    experiment, source, name = config.load_recipe(reference, expect=Experiment)
    return config.apply_sets(experiment, sets), source, name


def pretrain(args: argparse.Namespace, console: Console) -> int:
    experiment, source, name = _recipe(args.recipe, args.sets)
    if experiment.loop.deterministic:
        run.choose_deterministic_kernels()
    several = parallel.initialize(
        args.coordinator, args.num_processes, args.process_id, auto=args.distributed
    )  # first: nothing may use a device before it
    speaks = not several or jax.process_index() == 0
    console.quiet = not speaks
    args.workdir = args.workdir or Path("runs") / name  # an unforeseen error leaves its log there
    status = run.pretrain(
        experiment,
        args.workdir,
        console=console,
        recipe_source=source,
        start_from=args.start_from,
        branch=args.branch,
        fresh=args.fresh,
    )
    if status == 0 and speaks:
        summary.finish(args.workdir, console)
    return status


def tokenizer(args: argparse.Namespace, console: Console) -> int:
    experiment, _, _ = _recipe(args.recipe, args.sets)
    console.print(f"tokenizer: {data.train_tokenizer(experiment.data, experiment.text, console.progress)}")
    return 0


def prepare(args: argparse.Namespace, console: Console) -> int:
    experiment, _, _ = _recipe(args.recipe, args.sets)
    console.print(f"corpus: {run.prepare(experiment, console).dir}")
    return 0


def inspect(args: argparse.Namespace, console: Console) -> int:
    target: Any = Path(args.target)
    _import(args.recipe_file)
    if target.is_dir():
        if args.sets:
            raise UserError(
                f"--set changes a recipe; {target} is a workdir, whose config.json says what it is"
            )
    else:
        if args.step is not None:
            raise UserError(f"--step wants a workdir, and {target} is no folder; for a recipe say --batch")
        target, _, _ = _recipe(args.target, args.sets)
    batch = 0 if args.batch is None and args.step is None and args.text is None else args.batch
    inspection.inspect(target, batch=batch, step=args.step, typed=args.text, console=console)
    return 0


def fill_mask(args: argparse.Namespace, console: Console) -> int:
    _import(args.recipe_file)
    loaded = weights.load(args.model)
    for text in args.texts:
        found = guess.fill_mask(loaded.model, loaded.tokenizer, text, args.top)
        console.print(f"{text}\n{guess.show(found)}")
    return 0


def _import(recipe_file: str | None) -> None:
    if recipe_file is not None:
        config.import_recipe(recipe_file)


COMMANDS = {
    "pretrain": pretrain,
    "tokenizer": tokenizer,
    "prepare": prepare,
    "inspect": inspect,
    "fill-mask": fill_mask,
}
