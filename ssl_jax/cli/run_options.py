# SPDX-License-Identifier: Apache-2.0
"""The arguments of the commands that make something: runs, tables, corpora, directories."""

import argparse
from pathlib import Path

from ssl_jax.cli.kinds import amount, count, folder, new_file, part, positive, shares, size

RECIPE = "a Python file whose config() returns an Experiment, FILE.py:FUNCTION, or a shipped recipe's name"


def add_recipe(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("recipe", metavar="RECIPE", help=RECIPE)
    _add_set(sub)


def add_prepare(sub: argparse.ArgumentParser) -> None:
    add_recipe(sub)
    how = sub.add_argument_group(
        "a corpus larger than one machine",
        "every part, in processes that share the folder of the store or of the cache; then --publish",
    ).add_mutually_exclusive_group()
    how.add_argument("--part", type=part, metavar="I/N", help="encode part I of N, from 0")
    how.add_argument("--publish", action="store_true", help="put the parts together")
    how.add_argument(
        "--beam",
        action="store_true",
        help="all of it as an Apache Beam pipeline, whose own options follow behind --",
    )


def _add_set(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--set",
        dest="sets",
        action="append",
        default=[],
        metavar="A.B=C",
        help="change one field of the recipe, as in optim.peak_lr=1e-4; may be given many times",
    )


def add_recipe_file(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--recipe",
        dest="recipe_file",
        metavar="FILE",
        help="the file that defines classes of the workdir which are not part of ssl_jax; it is run",
    )


def _add_run(sub: argparse.ArgumentParser) -> None:
    add_recipe(sub)
    sub.add_argument(
        "--workdir", type=folder, metavar="DIR", help="where the run lives (default: runs/RECIPE)"
    )
    sub.add_argument("--fresh", action="store_true", help="remove the run in the workdir, and start again")
    several = sub.add_argument_group(
        "several processes", "the same command in each; schedulers are recognised"
    )
    several.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    several.add_argument("--num-processes", type=count, metavar="N")
    several.add_argument("--process-id", type=count, metavar="I", help="this one's number, from 0")
    several.add_argument(
        "--rendezvous-minutes",
        type=positive,
        default=30,
        metavar="N",
        help="how long to wait for the others (default: 30)",
    )
    several.add_argument("--distributed", action="store_true", help="ask jax for all three (TPU VM pods)")


def add_finetune(sub: argparse.ArgumentParser) -> None:
    _add_run(sub)
    sub.add_argument(
        "--from",
        dest="start_from",
        metavar="MODEL",
        help="start from the weights of MODEL; scratch or scratch:MODEL take a network with fresh weights",
    )
    _add_data(sub)
    sub.add_argument(
        "--seeds", type=positive, metavar="N", help="so many runs, each with a seed of its own, as one table"
    )
    sub.add_argument("--only", metavar="A,B", help="of a recipe of several tasks, these alone")


def _add_data(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--data", metavar="PATH", help="the task's folder or file (default: as the recipe says)")


def add_compare(sub: argparse.ArgumentParser) -> None:
    add_recipe(sub)
    sub.add_argument("--workdir", type=Path, metavar="DIR", help="the table (default: runs/compare-RECIPE)")
    sub.add_argument("--from", dest="start_from", metavar="MODEL", required=True, help="the first start")
    sub.add_argument(
        "--against",
        metavar="MODEL",
        nargs="+",
        required=True,
        help="other starts; scratch is the first one's network and tokenizer with fresh weights",
    )
    _add_data(sub)
    sub.add_argument("--seeds", type=positive, default=3, metavar="N", help="runs each (default: 3)")
    sub.add_argument(
        "--labels", type=shares, default=(1.0,), metavar="P,Q", help="shares of the labels (default: 1)"
    )
    sub.add_argument("--no-frozen", action="store_true", help="leave out the first start with a frozen trunk")


def add_pretrain(sub: argparse.ArgumentParser) -> None:
    _add_run(sub)
    start = sub.add_mutually_exclusive_group()
    start.add_argument("--from", dest="start_from", metavar="MODEL", help="start from the weights of MODEL")
    start.add_argument(
        "--branch",
        metavar="WORKDIR@STEP",
        help="start from a run's weights, optimizer and place in the data, with another schedule, say",
    )


def add_plan(sub: argparse.ArgumentParser) -> None:
    add_recipe(sub)
    where = sub.add_argument_group("where it is to run", "this machine, unless --topology names another")
    where.add_argument(
        "--topology",
        metavar="CHIP:SHAPE",
        help="a TPU slice, as in v5e:16x16 (compiled, with ssl_jax[plan]), or GPUs, as in h100:64",
    )
    where.add_argument("--slices", type=positive, default=1, metavar="N", help="so many TPU slices")
    where.add_argument(
        "--host-devices", type=positive, metavar="N", help="compile the sharded program for N CPU devices"
    )
    sub.add_argument("--price", type=amount, metavar="P", help="of a chip and hour, for the cost of the run")
    sub.add_argument("--json", type=new_file, metavar="FILE", help="write the plan as JSON too")
    sub.add_argument(
        "--no-export", action="store_true", help="no export is wanted: transformers need not know the model"
    )


def add_inspect(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("target", metavar="RECIPE|WORKDIR", help=f"{RECIPE}; or the workdir of a run")
    what = sub.add_mutually_exclusive_group()
    what.add_argument("--batch", type=count, metavar="K", help="batch K of the run, from 0 (default: 0)")
    what.add_argument("--step", type=positive, metavar="S", help="the batch of step S of a workdir, from 1")
    what.add_argument("--text", metavar="TEXT", help="this text, as the model would see it")
    sub.add_argument(
        "--from", dest="start_from", metavar="MODEL", help="for a recipe that leaves its tokenizer to a MODEL"
    )
    _add_data(sub)
    _add_set(sub)
    add_recipe_file(sub)


def add_export(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("model", metavar="MODEL", help="a workdir, WORKDIR@STEP or an exported directory")
    sub.add_argument("out_dir", type=Path, metavar="OUT_DIR", help="a new folder")
    sub.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the weights (default: float32)",
    )
    sub.add_argument(
        "--shard-size",
        type=size,
        default=size("5GB"),
        metavar="SIZE",
        help="the largest file, as in 5GB or 500MB; more weights go into several (default: 5GB)",
    )
    sub.add_argument(
        "--language",
        nargs="+",
        default=["und"],
        metavar="CODE",
        help="for the model card, ISO 639, as in de (default: und, undetermined)",
    )
    sub.add_argument(
        "--license",
        default="unknown",
        metavar="NAME",
        help="for the model card, as the hub names it, as in apache-2.0 (default: unknown)",
    )
    add_recipe_file(sub)


def add_import(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("hf_dir", type=Path, metavar="HF_DIR", help="config.json, *.safetensors, a tokenizer")
    sub.add_argument("workdir", type=Path, metavar="WORKDIR", help="a new folder")
    sub.add_argument(
        "--positions",
        type=positive,
        metavar="N",
        help="lengthen the model; new rows of a table of positions are copies of the first ones",
    )
    sub.add_argument(
        "--add-tokens",
        nargs="+",
        default=[],
        metavar="TOKEN",
        help="lengthen the vocabulary; a new token's vector is the mean of all others",
    )
