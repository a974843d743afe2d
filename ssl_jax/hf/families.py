# SPDX-License-Identifier: Apache-2.0
"""What a family's table is: names, tensors and options of `transformers`, for both directions.

A line counts where the model has its leaves (a norm without bias has no bias in either).  Names are those
that `transformers` 5 writes; what it wrote earlier is in Family.aliases.
"""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ssl_jax import models
from ssl_jax.hf.options import Json, Options
from ssl_jax.hf.table import BLOCKS, How, Line
from ssl_jax.types import Specials

Lines = tuple[Line, ...]


class Use(enum.Enum):
    """What a model is for, and so which heads it has.  TRUNK: hidden states (and BERT's pooler)."""

    TRUNK = "feature-extraction"
    PRETRAINING = "pretraining"
    MASKED = "fill-mask"
    NEXT = "text-generation"
    CLASSES = "text-classification"
    TAGS = "token-classification"
    SPANS = "question-answering"

    @property
    def pipeline(self) -> str:
        """The hub's name of the task."""
        return Use.MASKED.value if self is Use.PRETRAINING else self.value


@dataclass(frozen=True)
class Head:
    """architecture: the class of `transformers`; lines: its tensors beside the trunk's.  spare: ends of names
    that published files hold beside them, though the class has no use for them: left out, and said so."""

    architecture: str
    lines: Lines = ()
    spare: tuple[str, ...] = ()


@dataclass(frozen=True)
class Family:
    """model_types: the first is what an export is called; prefix: of the trunk's names, which files of a
    trunk alone lack.  tied: name -> the name it repeats, of tensors that some files store twice.  aliases:
    ends of names as older files have them; ignored: ends of constants that older files hold beside the
    weights (masks, position numbers), left out.  zeros: tensors that theirs must have and ours may lack, with
    the number of their rows: they leave as zeros.

    read, write: config.json to our config (but for the vocabulary) and back; misfits: what keeps a config of
    ours from being of this family, as `model.field=value`.
    """

    model_types: tuple[str, ...]
    prefix: str
    trunk: Lines
    heads: Mapping[Use, Head]
    read: Callable[[Options], models.TextConfig]
    write: Callable[[Any, Specials], Json]
    misfits: Callable[[Any], list[str]] = lambda config: []
    tied: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    zeros: Mapping[str, int] = field(default_factory=dict)

    def lines(self, use: Use) -> Lines:
        return self.trunk + self.heads[use].lines


def affine(theirs: str, ours: tuple[str, ...], kernel: str, how: How, first: int = 0) -> Lines:
    """weight and bias."""
    weight = Line(f"{theirs}.weight", tuple(f"{o}.{kernel}" for o in ours), how, first)
    return weight, Line(f"{theirs}.bias", tuple(f"{o}.bias" for o in ours), How.WHOLE, first)


def linear(theirs: str, *ours: str) -> Lines:
    return affine(theirs, ours, "kernel", How.LINEAR)


def conv(theirs: str, *ours: str) -> Lines:
    return affine(theirs, ours, "kernel", How.CONV)


def norm(theirs: str, ours: str, first: int = 0) -> Lines:
    return affine(theirs, (ours,), "scale", How.WHOLE, first)


QKV = tuple(f"{BLOCKS}attention.{part}" for part in ("query", "key", "value"))
CLASSIFIER = linear("classifier", "heads.classifier")
SCORE = linear("score", "heads.classifier")
