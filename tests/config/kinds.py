# SPDX-License-Identifier: Apache-2.0
"""A small Experiment with a field of every kind."""

import dataclasses
import enum
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from ssl_jax import config
from ssl_jax.types import bound_field


class Unit(enum.Enum):
    TOKEN = 1
    WORD = 2


@dataclass(frozen=True)
class Steps:
    n: int


@dataclass(frozen=True)
class Tokens:
    n: int


@dataclass(frozen=True, kw_only=True)
class Masking:
    rate: float = 0.15
    unit: Unit = Unit.TOKEN
    kind: Literal["fast", "slow"] = "fast"

    def __post_init__(self):
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate is {self.rate}; it must lie between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Loop:
    duration: Steps | Tokens = field(default=Steps(10), metadata={"branch": True})
    batch_size: int = 8
    log_every: int = field(default=10, metadata={"free": True})
    warmup: int | float = 0.1
    clip: float | None = 1.0
    deterministic: bool = False

    set_aliases: ClassVar[dict[str, Any]] = {}


def _steps(loop: Loop, value: int) -> Loop:
    return dataclasses.replace(loop, duration=Steps(value))


Loop.set_aliases["num_steps"] = _steps


@dataclass(frozen=True, kw_only=True)
class Mesh:
    data: int = -1
    axes: tuple[str, ...] = ("data",)
    seed_of_birth: int = field(default=0, metadata={"identity": True})


@dataclass(frozen=True, kw_only=True)
class Recipe:
    seed: int = 0
    objective: Any = Masking()
    source: str | Steps = "a.txt"
    sources: tuple[Tokens, ...] = (Tokens(1), Tokens(2))
    loop: Loop = Loop()
    mesh: Mesh = field(default_factory=Mesh, metadata={"free": True})
    extra: Any = None
    meta: Any = bound_field()


@dataclass(frozen=True, kw_only=True)
class Heads:
    dim: int = 8
    num_heads: int = 4

    def __post_init__(self):
        if self.dim % self.num_heads:
            raise ValueError(f"dim {self.dim} is no multiple of num_heads {self.num_heads}")


def put(*sets: str) -> Recipe:
    return config.apply_sets(Recipe(), sets)
