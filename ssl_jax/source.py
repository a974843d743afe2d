# SPDX-License-Identifier: Apache-2.0
"""A MODEL by its name: a checkpoint of a workdir or an exported directory, found but not yet read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ssl_jax.experiment import Experiment, Pretrained, Stream
from ssl_jax.exported import Exported
from ssl_jax.hf import is_directory
from ssl_jax.loop.checkpoint import Leaves, read_leaves
from ssl_jax.loop.kept import best_first, read_meta, saved_steps
from ssl_jax.types import UserError
from ssl_jax.workdir import Workdir, split_step


class Source(Protocol):
    """A MODEL that was found, but whose weights were not read yet.  str() names it for people."""

    @property
    def network(self) -> Pretrained: ...
    @property
    def tokenizer_dir(self) -> Path: ...  # as text.load opens it
    @property
    def vocab_shards(self) -> int: ...  # what its vocabulary was padded for (types.Meta)
    @property
    def step(self) -> int: ...  # of training, 0 where that isn't known
    @property
    def measured(self) -> Mapping[str, float]: ...  # `NAME/metric` when it was saved, for Task.tuned
    def params(self, shardings: Mapping[str, Any], default: Any) -> dict[str, Any]:
        """Path -> parameter, each lying as shardings says, or else as default."""

    def stream(self) -> Stream:
        """The same, some at a time."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a workdir."""

    place: Workdir
    step: int

    def __str__(self) -> str:
        return f"{self.place.path}@{self.step}"

    @property
    def network(self) -> Pretrained:
        run = self.place.experiment()
        if isinstance(run, Pretrained):
            return run
        begun = self.place.resolved()
        return Pretrained(
            model=run.model,
            objective=run.objective,
            text=run.text,
            labels=tuple(begun.get("labels", ())),
            texts=begun.get("texts"),
        )

    @property
    def tokenizer_dir(self) -> Path:
        return self.place.tokenizer

    @property
    def vocab_shards(self) -> int:
        return self.place.resolved().get("vocab_shards", 1)

    @property
    def measured(self) -> Mapping[str, float]:
        return read_meta(self.place.checkpoints, self.step).get("measured", {})

    def params(self, shardings: Mapping[str, Any], default: Any) -> dict[str, Any]:
        """The averaged parameters, where the run kept an average."""
        prefix = self._prefix
        moved = {prefix + name.removeprefix("params."): s for name, s in shardings.items()}
        leaves, _ = self.leaves(lambda name: name.startswith(prefix), moved, default)
        return {"params." + name.removeprefix(prefix): leaf for name, leaf in leaves.items()}

    @property
    def _prefix(self) -> str:
        run = self.place.experiment()
        return "ema." if isinstance(run, Experiment) and run.optim.ema is not None else "params."

    def stream(self) -> Stream:
        leaves, prefix = Leaves(self.place.checkpoints, self.step), self._prefix
        shapes = {
            name.removeprefix(prefix): shape
            for name, shape in leaves.shapes.items()
            if name.startswith(prefix)
        }

        def read(names):
            found = leaves.read_to_host([prefix + name for name in names])
            return {name.removeprefix(prefix): leaf for name, leaf in found.items()}

        return Stream(shapes, read)

    def leaves(self, wanted: Any, shardings: Mapping[str, Any], default: Any) -> tuple[dict[str, Any], dict]:
        return read_leaves(self.place.checkpoints, self.step, wanted, shardings, default)


def find(model: str) -> Source:
    """MODEL: a workdir, a checkpoint in it, or an exported directory.  Raises UserError that says what is
    there instead."""
    path, _ = split_step(model)
    if not path.is_dir():
        raise UserError(f"there is no MODEL {path}; name a workdir, WORKDIR@STEP or an exported directory")
    if is_directory(path):
        return Exported(path)
    return find_saved(model)


def find_saved(model: str) -> Saved:
    """A checkpoint of a workdir; of a run that keeps its best, the best one unless a step is named."""
    path, step = split_step(model)
    place = Workdir(path)
    if not place.exists():
        raise UserError(f"{path} is no workdir: it has no config.json")
    steps = saved_steps(place.checkpoints)
    if not steps:
        raise UserError(f"{path} has no checkpoint yet")
    if step is not None and step not in steps:
        raise UserError(f"{path} has no checkpoint of step {step}; it has {', '.join(map(str, steps))}")
    if step is None:
        run = place.experiment()
        keeps_best = isinstance(run, Experiment) and run.checkpoint.keep_best > 0
        ranked = best_first(place.checkpoints, steps, run.checkpoint.higher_is_better) if keeps_best else []
        step = [*ranked, steps[-1]][0]
    return Saved(place, step)


def experiment_of(source: Source) -> Experiment | None:
    """The run that a MODEL comes from, where it is one of ours."""
    run = source.place.experiment() if isinstance(source, Saved) else None
    return run if isinstance(run, Experiment) else None
