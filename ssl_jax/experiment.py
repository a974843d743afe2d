# SPDX-License-Identifier: Apache-2.0
"""The whole run as one frozen dataclass.  A recipe returns it; config.json is it."""

from dataclasses import dataclass, field

from ssl_jax.data import Data
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop
from ssl_jax.loop.trackers import Track
from ssl_jax.optim import Optim
from ssl_jax.parallel import MeshConfig
from ssl_jax.text import Text
from ssl_jax.types import ModelConfig, Objective


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """What a run is.  Fields marked free may change on resume, those marked branch need --branch, and a
    change of any other is refused with the difference shown.

    init: the MODEL (a workdir or WORKDIR@STEP) whose weights the run starts from;
    None starts from scratch.
    """

    seed: int = 0
    init: str | None = field(default=None, metadata={"free": True})  # matters at birth alone
    model: ModelConfig
    objective: Objective
    text: Text = field(default_factory=Text)
    data: Data
    optim: Optim
    mesh: MeshConfig = field(default_factory=MeshConfig, metadata={"free": True})
    loop: Loop
    evals: Evals = field(default_factory=Evals, metadata={"free": True})
    checkpoint: Checkpoint = field(default_factory=Checkpoint, metadata={"free": True})
    track: Track = field(default_factory=Track, metadata={"free": True})
