# SPDX-License-Identifier: Apache-2.0
"""One function a command: arguments to an Experiment, then to ssl_jax.run; returns the exit status."""

import argparse
from pathlib import Path
from typing import Any

from ssl_jax import config, run
from ssl_jax.cli.console import Console
from ssl_jax.experiment import Experiment
from ssl_jax.types import UserError


def _recipe(reference: str, sets: list[str]) -> tuple[Experiment, str, str]:
    experiment, source, name = config.load_recipe(reference, expect=Experiment)
    return config.apply_sets(experiment, sets), source, name


def pretrain(args: argparse.Namespace, console: Console) -> int:
    experiment, source, name = _recipe(args.recipe, args.sets)
    args.workdir = args.workdir or Path("runs") / name  # an unexpected error leaves its log there
    return run.pretrain(
        experiment,
        args.workdir,
        console=console,
        recipe_source=source,
        start_from=args.start_from,
        branch=args.branch,
        fresh=args.fresh,
    )


def tokenizer(args: argparse.Namespace, console: Console) -> int:
    experiment, _, _ = _recipe(args.recipe, args.sets)
    return run.tokenizer(experiment, console=console)


def prepare(args: argparse.Namespace, console: Console) -> int:
    experiment, _, _ = _recipe(args.recipe, args.sets)
    return run.prepare(experiment, console=console)


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
    return run.inspect(target, batch=args.batch, step=args.step, text=args.text, console=console)


def fill_mask(args: argparse.Namespace, console: Console) -> int:
    _import(args.recipe_file)
    return run.fill_mask(args.model, args.texts, top=args.top, console=console)


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
