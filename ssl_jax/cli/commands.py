# SPDX-License-Identifier: Apache-2.0
"""One function a command: arguments to an Experiment, then to the room that does it; returns its status."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import Any

from ssl_jax import api, config, data, hub, parallel, run, weights
from ssl_jax.cli import recipes, train, use
from ssl_jax.cli.console import Console
from ssl_jax.experiment import Experiment, Suite
from ssl_jax.objectives import Classification, SpanPrediction, Tagging
from ssl_jax.plan import plan as planning
from ssl_jax.plan import topology
from ssl_jax.plan.show import as_json, show
from ssl_jax.report import embeddings
from ssl_jax.report import evaluate as evaluation
from ssl_jax.report import inspect as inspection
from ssl_jax.source import experiment_of
from ssl_jax.tasks.base import DEV
from ssl_jax.types import UserError
from ssl_jax.use.embed import By, Pool
from ssl_jax.workdir import write_json


def tokenizer(args: argparse.Namespace, console: Console) -> int:
    experiment, _ = recipes.load(args, console)
    console.print(f"tokenizer: {data.train_tokenizer(experiment.data, experiment.text, console.progress)}")
    return 0


def prepare(args: argparse.Namespace, console: Console) -> int:
    experiment, _ = recipes.load(args, console)
    if args.part or args.publish or args.beam:
        return _prepare_by_many(args, experiment, console)
    console.print(f"corpus: {run.prepare(experiment, console).dir}")
    return 0


def _prepare_by_many(args: argparse.Namespace, experiment: Experiment, console: Console) -> int:
    """One part of the corpus, the parts put together, or all of it under Beam."""
    if experiment.task is not None:
        raise UserError(f"{args.recipe} has a task; only a corpus is prepared in parts")
    if args.part:
        made = data.prepare_part(experiment.data, experiment.text, *args.part, console.progress)
        if isinstance(made, int):
            console.print(f"part {args.part[0]}/{args.part[1]}: {made} shards; once all are: --publish")
            return 0
    elif args.publish:
        made = data.publish(experiment.data, experiment.text, console.progress)
    else:
        made = _beam()(experiment.data, experiment.text, args.beam_options, console.progress)
    console.print(f"{made.report_text()}\ncorpus: {made.dir}")
    return 0


def _beam() -> Any:
    try:
        from ssl_jax.data.beam import prepare_by_beam
    except ImportError as error:
        raise UserError("--beam needs: pip install 'ssl_jax[beam]'") from error
    return prepare_by_beam


def plan(args: argparse.Namespace, console: Console) -> int:
    hosts = None if args.host_devices is None else topology.host_devices(args.host_devices)
    recipe, _, _ = config.load_recipe(args.recipe, expect=(Experiment, Suite))
    if isinstance(recipe, Suite) or recipe.task is not None:
        raise UserError(f"plan looks at pretraining, and {args.recipe} is the recipe of a task")
    experiment = weights.settle(recipe, None, args.sets, None, console)
    if args.topology is not None:
        target = topology.target_of(args.topology, args.slices)
    elif args.slices > 1:
        raise UserError("--slices is of a --topology, as in --topology v5e:16x16 --slices 2")
    elif hosts is not None:
        target, hosts = topology.of_hosts(hosts), None
    else:
        target = topology.this_machine()
        if unseen := parallel.unseen_gpu():
            console.warn(unseen)
    found = planning.plan(
        experiment,
        target,
        host_devices=hosts,
        price=args.price,
        exported=not args.no_export,
        say=console.status,
    )
    show(found, recipes.prepare_command(args), console)
    if args.json is not None:
        write_json(args.json, as_json(found))
    return 1 if found.fits is False else 0


def inspect(args: argparse.Namespace, console: Console) -> int:
    target: Any = Path(args.target)
    use.import_recipe(args)
    if target.is_dir():
        if args.sets:
            raise UserError(
                f"--set changes a recipe; {target} is a workdir, whose config.json says what it is"
            )
    else:
        if args.step is not None:
            raise UserError(f"--step wants a workdir, and {target} is no folder; for a recipe say --batch")
        args.recipe = args.target
        target, _ = recipes.load(args, console)
    batch = 0 if args.batch is None and args.step is None and args.text is None else args.batch
    inspection.inspect(target, batch=batch, step=args.step, typed=args.text, console=console)
    return 0


def evaluate(args: argparse.Namespace, console: Console) -> int:
    use.import_recipe(args)
    model = api.load(args.model)
    trained = experiment_of(model.loaded.source)
    if trained is None and isinstance(model.loaded.objective, (Classification, SpanPrediction, Tagging)):
        raise UserError(
            f"{args.model} doesn't say what its task was: evaluate the workdir of its fine-tuning, or see "
            "ssl-jax predict"
        )
    if trained is None or trained.task is None:
        return use.evaluate_language_model(args, model, console)
    if args.task != "perplexity" or args.window or args.stride:
        raise UserError(f"--task, --window and --stride are of a language model; {args.model} has a task")
    split = args.split or DEV
    found = evaluation.evaluate_task(
        model.loaded,
        trained.task if args.data is None else dataclasses.replace(trained.task, data=args.data),
        split,
        out=args.out,
        batch_size=rows_at_once(trained),
        progress=console.progress,
    )
    if args.json:
        console.print(json.dumps({"model": args.model, "split": split, **found.scores}))
    else:
        evaluation.show(found, f"{args.model} on {split}", console)
    return 0


def rows_at_once(trained: Experiment) -> int:
    """Of an evaluation: what the recipe says, else what training took at a time where that is a number."""
    micro = trained.loop.micro_batch
    return trained.evals.batch_size or (micro if isinstance(micro, int) else trained.loop.batch_size)


def embed(args: argparse.Namespace, console: Console) -> int:
    use.import_recipe(args)
    texts = (
        embeddings.typed(args.texts)
        if args.file is None
        else embeddings.of_file(args.file, args.text_key, console)
    )
    output = embeddings.Output(args.out, args.heatmap)
    output.check(args.word)
    how = {"by": args.by and By(args.by), "word": args.word, "layers": args.layers, "pool": Pool(args.pool)}
    loaded = weights.load(args.model)
    embeddings.run(loaded, texts, output, console, batch_size=args.batch_size, **how)
    return 0


def export(args: argparse.Namespace, console: Console) -> int:
    use.import_recipe(args)
    hub.export(
        args.model,
        args.out_dir,
        dtype=args.dtype,
        shard_size=args.shard_size,
        language=args.language,
        licence=args.license,
        console=console,
    )
    return 0


def import_(args: argparse.Namespace, console: Console) -> int:
    hub.import_(args.hf_dir, args.workdir, positions=args.positions, tokens=args.add_tokens, console=console)
    return 0


COMMANDS = {
    "pretrain": train.pretrain,
    "finetune": train.finetune,
    "compare": train.compare,
    "tokenizer": tokenizer,
    "prepare": prepare,
    "plan": plan,
    "inspect": inspect,
    "evaluate": evaluate,
    **use.COMMANDS,
    "embed": embed,
    "export": export,
    "import": import_,
}
