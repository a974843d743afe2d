# SPDX-License-Identifier: Apache-2.0
"""A whole model out to a directory, and in from one: config.json and weights, without the tokenizer."""

import dataclasses
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
from flax import nnx

from ssl_jax import models, nn
from ssl_jax.hf import writing
from ssl_jax.hf.configs import family_of, read_config, write_config
from ssl_jax.hf.families import Family, Use
from ssl_jax.hf.options import Json
from ssl_jax.hf.reading import CONFIG, Directory, Matched, holds
from ssl_jax.hf.table import Shapes
from ssl_jax.hf.tokenizer import Template
from ssl_jax.hf.uses import inexpressible, labels_of, objective_of, use_of, uses_in, write_labels
from ssl_jax.objectives import Classification, Read
from ssl_jax.types import Meta, Objective, Progress, Specials, UserError


@dataclass(frozen=True)
class Outgoing:
    """A model to write.  config: bound; shapes: its leaves by flat name; read: how to get some of them."""

    config: models.TextConfig
    objective: Objective | None
    labels: tuple[str, ...]
    specials: Specials
    shapes: Shapes
    read: writing.Read

    def __post_init__(self):
        wrong = inexpressible(self.config, self.objective)
        first = self.family.prefix == "roberta." and self.config.first_position
        if not wrong and first and first != self.specials.pad + 1:
            wrong = [f"model.first_position={first} (RoBERTa counts from its padding's id + 1)"]
        read_last = isinstance(self.objective, Classification) and self.objective.read is Read.LAST
        if not wrong and read_last and self.specials.pad == self.specials.eos:
            wrong = ["a classifier that reads the end of a text by the token that also pads"]
        if wrong:
            raise UserError(f"no architecture of transformers has {'; '.join(wrong)}: it cannot be exported")

    @property
    def family(self) -> Family:
        return family_of(self.config)

    @property
    def use(self) -> Use:
        use = use_of(self.objective)
        assert use is not None, "inexpressible"
        return use

    @property
    def template(self) -> Template:
        """How the objective lays texts out."""
        causal = Use.NEXT in self.family.heads
        if self.use is Use.CLASSES and causal:
            return Template.ENDED
        return Template.DOCUMENT if causal and self.use in (Use.NEXT, Use.TRUNK) else Template.TEXTS

    def config_json(self, dtype: str) -> Json:
        return {
            "architectures": [self.family.heads[self.use].architecture],
            **write_config(self.config, self.specials),
            **write_labels(self.use, self.objective, self.labels),
            "dtype": dtype,
        }

    def generation_json(self) -> Json | None:
        """None where the model doesn't generate.  BOS closes a document here as well as it opens one, so
        either of the two ends a text."""
        if self.use is not Use.NEXT:
            return None
        bos, eos = self.specials.bos, self.specials.eos
        ends = sorted({end for end in (bos, eos) if end is not None})
        return {
            "bos_token_id": bos,
            "eos_token_id": ends[0] if len(ends) == 1 else ends,
            "pad_token_id": self.specials.pad,
        }

    def write(self, out: Path, *, dtype: str, shard_size: int, progress: Progress) -> None:
        """config.json, generation_config.json where it generates, and the weights."""
        plan = writing.stored(self.family, self.use, self.shapes, self.config.spec().vocab_size)
        _write_json(out / CONFIG, self.config_json(dtype))
        if (generation := self.generation_json()) is not None:
            _write_json(out / "generation_config.json", generation)
        writing.write(out, plan, self.read, dtype=dtype, shard_size=shard_size, progress=progress)


def _write_json(path: Path, tree: Json) -> None:
    path.write_text(json.dumps(tree, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Incoming:
    """A directory of `transformers` as a network of ours.  Raises UserError for what ours cannot express."""

    path: Path

    @cached_property
    def directory(self) -> Directory:
        return Directory(self.path)

    @cached_property
    def _read(self) -> tuple[Family, models.TextConfig]:
        return read_config(self.directory.values)

    @property
    def family(self) -> Family:
        return self._read[0]

    @property
    def config(self) -> models.TextConfig:
        return self._read[1]

    @cached_property
    def use(self) -> Use:
        uses = uses_in(self.family, self.directory.values)
        return next((use for use in reversed(uses) if holds(self.directory, self.family, use)), uses[0])

    @property
    def objective(self) -> Objective | None:
        return objective_of(self.use, self.config, self.directory.values)

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.directory.values) if self.use in (Use.CLASSES, Use.TAGS) else ()

    def matched(self, meta: Meta) -> Matched:
        """Its tensors against our leaves.  Raises UserError that lists all that doesn't fit."""
        rows = self.config.vocab_rows
        if meta.vocab_size > rows:
            raise UserError(
                f"{self.path}: its tokenizer has {meta.vocab_size} tokens, its weights {rows} (config.json's "
                "vocab_size): they don't belong together"
            )
        shapes = shapes_of(self.config.bind(meta), self._heads(meta))
        return Matched(self.directory, self.family, self.use, shapes, rows)

    def _heads(self, meta: Meta) -> Any:
        """A function of a trunk and rngs: the objective's heads, or of a trunk alone its pooler, if any."""
        if self.objective is not None:
            return dataclasses.replace(self.objective, meta=meta).heads
        pooled = self.family.heads[self.use].lines and holds(self.directory, self.family, self.use)
        return lambda trunk, rngs: {"pooler": nn.Pooler(trunk, rngs=rngs)} if pooled else {}


def shapes_of(config: models.TextConfig, heads: Any) -> Shapes:
    """Our leaves, by flat name, of a bound config's trunk with these heads."""

    def params():
        rngs = nnx.Rngs(0)
        trunk = config.build(rngs)
        return nn.split(nn.Model(trunk, heads(trunk, rngs)))[1]

    paths, _ = jax.tree_util.tree_flatten_with_path(jax.eval_shape(params))
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in paths}
