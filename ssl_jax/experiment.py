# SPDX-License-Identifier: Apache-2.0
"""The whole run as one frozen dataclass.  A recipe returns it; config.json is it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ssl_jax.data import Data
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop
from ssl_jax.loop.trackers import Track
from ssl_jax.optim import Optim
from ssl_jax.parallel import MeshConfig
from ssl_jax.tasks.base import Task
from ssl_jax.text import Text
from ssl_jax.types import ModelConfig, Objective


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What a run is.  Fields marked free may change on resume, those marked branch need --branch, and a
    change of any other is refused with the difference shown.

    init: the MODEL (a workdir, WORKDIR@STEP or an exported directory) whose weights the run starts from; None
    starts from scratch.  fresh_layers: so many of the trunk's top layers start from scratch all the same.
    model None and text.tokenizer None are those of init.  Examples come from task, where there is one (its
    labels, its metrics), and otherwise from data.
    """

    seed: int = 0
    init: str | None = field(default=None, metadata={"free": True})  # matters at birth alone
    fresh_layers: int = field(default=0, metadata={"free": True})  # likewise
    model: ModelConfig | None = None
    objective: Objective
    text: Text = field(default_factory=Text)
    data: Data = field(default_factory=Data)
    task: Task | None = None
    optim: Optim
    mesh: MeshConfig = field(default_factory=MeshConfig, metadata={"free": True})
    loop: Loop
    evals: Evals = field(default_factory=Evals, metadata={"free": True})
    checkpoint: Checkpoint = field(default_factory=Checkpoint, metadata={"free": True})
    track: Track = field(default_factory=Track, metadata={"free": True})


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What an import leaves in place of a run: a network, weights and a tokenizer.

    objective: what its heads were trained for (None: a trunk alone); labels: names of the classes that a
    classifier knows; texts: how many it reads together (None: not known).  source: where it came from, for
    people.
    """

    model: ModelConfig
    objective: Objective | None = None
    text: Text = field(default_factory=lambda: Text(tokenizer=None))
    labels: tuple[str, ...] = ()
    texts: int | None = None
    source: str = ""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One fine-tuning run of a suite.  after: the member whose model it starts from, in a second column."""

    name: str
    experiment: Experiment
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Several tasks reported as one table.

    averaged: the members whose main metrics are averaged, and in `average` the words that say how.
    """

    members: tuple[Member, ...]
    averaged: tuple[str, ...]
    average: str


class Stream(NamedTuple):
    """Parameters that are read some at a time, by flat name ("trunk.embeddings.tokens")."""

    shapes: Mapping[str, tuple[int, ...]]
    read: Callable[[Sequence[str]], Mapping[str, np.ndarray]]
