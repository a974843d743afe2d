# SPDX-License-Identifier: Apache-2.0
"""The recipe that a command line names: loaded, with its data and every --set; how it would be prepared."""

import argparse
import dataclasses
import shlex

from ssl_jax import config, weights
from ssl_jax.cli.console import Console
from ssl_jax.experiment import Experiment
from ssl_jax.types import UserError
from ssl_jax.workdir import Workdir


def load(args: argparse.Namespace, console: Console) -> tuple[Experiment, str]:
    """The recipe's experiment with what it leaves to its MODEL filled in, and then with every --set."""
    experiment, source, _ = config.load_recipe(args.recipe, expect=Experiment)
    if getattr(args, "data", None) is not None:
        experiment = with_data(experiment, args)
    place = Workdir(args.workdir) if hasattr(args, "workdir") and not args.fresh else None
    start = getattr(args, "start_from", None)
    return weights.settle(experiment, start, args.sets, place, console), source


def with_data(experiment: Experiment, args: argparse.Namespace) -> Experiment:
    if experiment.task is None:
        raise UserError(f"{args.recipe} has no task; pretraining is: ssl-jax pretrain {args.recipe}")
    if args.data is None:
        return experiment
    return dataclasses.replace(experiment, task=dataclasses.replace(experiment.task, data=args.data))


def prepare_command(args: argparse.Namespace) -> str:
    sets = [word for one in args.sets for word in ("--set", one)]
    return shlex.join(["ssl-jax", "prepare", args.recipe, *sets])
