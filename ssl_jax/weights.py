# SPDX-License-Identifier: Apache-2.0
"""Weights of a MODEL: to start from (--from), to branch off (--branch), to use."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import SingleDeviceSharding

from ssl_jax import config, nn, text
from ssl_jax.assemble import Setup
from ssl_jax.experiment import Experiment, Pretrained
from ssl_jax.loop.state import State, flat, unflat
from ssl_jax.models import BertConfig
from ssl_jax.program import bind
from ssl_jax.source import Source, find, find_saved
from ssl_jax.types import Axes, Meta, UserError
from ssl_jax.workdir import Workdir, changed

# ---------------------------------------------------------------- what a recipe leaves to its MODEL

SCRATCH = "scratch"


def settle(
    experiment: Experiment, start: str | None, sets: Sequence[str], place: Workdir | None, console: Any
) -> Experiment:
    """The experiment that runs: with what it leaves to its MODEL, and with every --set.  One such as
    text.tokenizer=None leaves more to it."""
    experiment = inherit(experiment, start, place, console)
    return inherit(config.apply_sets(experiment, sets), start, place, console)


def inherit(experiment: Experiment, start: str | None, place: Workdir | None, console: Any) -> Experiment:
    """The experiment with its start, and with the model and tokenizer that it leaves to its MODEL.

    start: a MODEL; "scratch" (the recipe's own network, else BERT-base's, with fresh weights);
    "scratch:MODEL" (MODEL's network and tokenizer, with fresh weights); None is what the recipe says.  A run
    that has begun keeps what it began with.
    """
    text_section, model = experiment.text, experiment.model
    kind, _, other = (start or "").partition(":")
    init = None if kind == SCRATCH else start or experiment.init
    experiment = dataclasses.replace(experiment, init=init)
    if model is not None and text_section.tokenizer is not None:
        return experiment
    if place is not None and place.exists() and place.is_begun():
        begun = place.experiment()
        tokenizer, network = begun.text.tokenizer, begun.model
    elif init or other:
        source = find(init or other)
        tokenizer, network = text.TokenizerDir(path=str(source.tokenizer_dir)), source.network.model
    elif kind == SCRATCH:
        tokenizer, network = text.SentencePiece(), BertConfig()
        console.print("from scratch: BERT-base's network and a tokenizer of 8,192 pieces, since the recipe")
        console.print("names none; --from scratch:MODEL takes those of MODEL")
    else:
        raise UserError(
            "this recipe leaves its network to a MODEL; say --from MODEL, or --from scratch:MODEL"
        )
    text_section = dataclasses.replace(text_section, tokenizer=text_section.tokenizer or tokenizer)
    return dataclasses.replace(experiment, model=model or network, text=text_section)


# ------------------------------------------------------------------------------------------- --from


def fitting(init: str, experiment: Experiment, meta: Meta) -> Source:
    """A MODEL whose trunk is this experiment's, judged by shapes alone: nothing was compiled yet.

    Raises UserError where it isn't, or has another tokenizer.
    """
    source = find(init)
    if text.load(source.tokenizer_dir).fingerprint != meta.tokenizer.fingerprint:
        raise UserError(
            f"{source} has another tokenizer than this recipe's corpus: its weights would mean nothing here"
        )
    _, axes, shapes = nn.abstract(bind(experiment, meta).build)
    axes, shapes = flat_params(axes), flat_params(shapes)
    theirs, wrong = source.stream().shapes, []
    for name, leaf in shapes.items():
        there = theirs.get(name.removeprefix("params."))
        if name.startswith("params.trunk.") and not fits(there, leaf.shape, axes[name], meta.vocab_size):
            wrong.append(f"{name.removeprefix('params.')} is {there or 'missing'}, here {leaf.shape}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise UserError(f"{source} doesn't fit this model: {'; '.join(wrong[:5])}{more}")
    layers = max(leaf.shape[0] for name, leaf in shapes.items() if axes[name].names[0] == "layers")
    if experiment.fresh_layers > layers:
        raise UserError(f"fresh_layers={experiment.fresh_layers}, but the model has {layers} layers")
    return source


def fits(there: tuple[int, ...] | None, here: tuple[int, ...], axes: Axes, vocab_size: int) -> bool:
    """Whether refit makes the one shape into the other."""
    if there is None or len(there) != len(here):
        return False
    return all(a == b or is_padded(name, a, vocab_size) for name, a, b in zip(axes.names, there, here))


def is_padded(name: str | None, size: int, vocab_size: int) -> bool:
    """Whether this dimension is of the vocabulary, and padded, perhaps for another mesh."""
    return name == "vocab" and size >= vocab_size


def adopt(source: Source, state: State, setup: Setup, console: Any) -> State:
    """state with the weights of a MODEL that is fitting; optimizer, step and data position stay as born.

    A head that the MODEL lacks, or has in another shape or for other labels, keeps its fresh weights.
    """
    shapes = flat_params(setup.blueprint.shapes.params)
    shardings = flat_params(setup.blueprint.shardings.params)
    axes = flat_params(setup.blueprint.axes)
    vocab_size = setup.bound.meta.vocab_size
    found = {
        name: refit(leaf, shapes[name], axes[name], vocab_size)
        for name, leaf in source.params(shardings, setup.layout.replicated).items()
        if name in shapes
    }
    other = other_heads(found, shapes, source.network.labels != setup.bound.meta.labels)
    found = {name: leaf for name, leaf in found.items() if head_of(name) not in other}
    fresh = sorted({head_of(name) for name in shapes if name not in found})
    console.print(f"weights from {source}" + (f"; fresh heads: {', '.join(fresh)}" if fresh else ""))
    mine = flat(state)
    keep = setup.bound.experiment.fresh_layers
    for name, leaf in found.items():
        leaf = jax.device_put(leaf.astype(mine[name].dtype), shardings[name])
        mine[name] = under_fresh_layers(leaf, mine[name], keep) if axes[name].names[0] == "layers" else leaf
    new = unflat(mine, state)
    if setup.bound.experiment.optim.ema is not None:
        new = dataclasses.replace(new, ema=jax.tree.map(jnp.copy, new.params))
    return new


def head_of(name: str) -> str | None:
    """The head that a parameter belongs to; None for the trunk's."""
    _, part, head = name.split(".")[:3]
    return head if part == "heads" else None


def other_heads(found: Mapping[str, Any], shapes: Mapping[str, Any], other_labels: bool) -> set[str]:
    """Heads that were trained for something else: of another shape, or a classifier of other labels."""
    heads = {head_of(name) for name, leaf in found.items() if leaf.shape != shapes[name].shape}
    return (heads | ({"classifier"} if other_labels else set())) - {None}


def under_fresh_layers(leaf: Any, fresh: Any, count: int) -> Any:
    """A stacked parameter [layers, ...] whose last count layers are those of fresh."""
    from_below = jnp.arange(leaf.shape[0]) < leaf.shape[0] - count
    return jnp.where(from_below.reshape(-1, *[1] * (leaf.ndim - 1)), leaf, fresh)


def flat_params(tree: Any) -> dict[str, Any]:
    """A tree of parameters (or of anything a parameter) by the names that a checkpoint uses."""
    return flat({"params": tree})


def refit(leaf: Any, shape: Any, axes: Axes, vocab_size: int) -> Any:
    """leaf with its vocabulary padded as here: entries past the true size are zeros anyway."""
    for axis, name in enumerate(axes.names):
        if leaf.shape[axis] != shape.shape[axis] and is_padded(name, leaf.shape[axis], vocab_size):
            true = jax.lax.slice_in_dim(leaf, 0, vocab_size, axis=axis)
            widths = [(0, shape.shape[axis] - vocab_size if i == axis else 0) for i in range(leaf.ndim)]
            leaf = jnp.pad(true, widths)
    return leaf


# ----------------------------------------------------------------------------------------- --branch


@dataclass(frozen=True)
class BranchPoint:
    state: State
    step: int
    meta: dict[str, Any]


def branch_point(branch: str, setup: Setup, console: Any) -> BranchPoint:
    """The whole state of WORKDIR@STEP, optimizer and data position included, for another recipe's run."""
    source = find_saved(branch)
    differences = config.diff(source.place.experiment(), setup.bound.experiment)
    if refused := [c for c in differences if c.kind == "identity"]:
        raise UserError(
            f"{source} can't be branched off by another recipe: {changed(refused)}; "
            "take the weights alone with --from"
        )
    shapes, shardings = flat(setup.blueprint.shapes), flat(setup.blueprint.shardings)
    leaves, meta = source.leaves(lambda name: name in shapes, shardings, setup.layout.replicated)
    wrong = [name for name, x in shapes.items() if name not in leaves or leaves[name].shape != x.shape]
    if wrong:
        raise UserError(
            f"{source} can't be branched off by this recipe: {wrong[0]} differs or is missing (a branch "
            "keeps model and optimizer; take the weights alone with --from)"
        )
    if meta["plan"] != setup.plan.fingerprint:
        raise UserError(f"{source} was trained on other data, so its position means nothing here; use --from")
    if source.step >= setup.num_steps:
        raise UserError(
            f"{source} is already at step {source.step} of {setup.num_steps}; raise loop.duration"
        )
    console.print(f"branching off {source}, data from row {meta['next_row']}")
    return BranchPoint(unflat(leaves, setup.blueprint.shapes), source.step, meta)


# -------------------------------------------------------------------------------------------- to use


@dataclass(frozen=True)
class Loaded:
    """A model ready for use on one device.

    network: what it is, with its labels; objective: the same, knowing the tokenizer (None: a trunk alone).
    """

    source: Source
    network: Pretrained
    objective: Any
    meta: Meta
    model: nn.Model

    @property
    def tokenizer(self) -> Any:
        return self.meta.tokenizer


def load(model: str) -> Loaded:
    """MODEL's network, with its weights in place."""
    source = find(model)
    network = source.network
    tokenizer = text.load(source.tokenizer_dir)
    meta = Meta(
        tokenizer=tokenizer, vocab_shards=source.vocab_shards, labels=network.labels, texts=network.texts
    )
    # No bind: what a plan and its tokenizer need for training isn't needed to use a model.
    objective = network.objective and dataclasses.replace(network.objective, meta=meta)
    config = network.model.bind(meta)

    def build(rngs):
        trunk = config.build(rngs)
        return nn.Model(trunk, objective.heads(trunk, rngs) if objective is not None else {})

    graphdef, _, shapes = nn.abstract(build)
    found = source.params({}, SingleDeviceSharding(jax.local_devices()[0]))
    names = list(flat_params(shapes))
    if missing := [name for name in names if name not in found]:
        raise UserError(f"{source} lacks {missing[0]}: it was written by another version of ssl_jax")
    params = jax.tree.unflatten(jax.tree.structure(shapes), [found[name] for name in names])
    return Loaded(source, network, objective, meta, nn.merge(graphdef, params))
