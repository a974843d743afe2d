# SPDX-License-Identifier: Apache-2.0
"""Inputs whose records are read at random, cut by the number of their records."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ssl_jax.data.readers import Input, Record


@dataclass(frozen=True)
class Stretch:
    """Records first to last of an input whose records can be read at random.  size: of the stretch."""

    source: Input
    size: float
    first: int
    last: int

    @property
    def name(self) -> str:
        return self.source.name

    def identity(self) -> list[Any]:
        return [*self.source.identity(), self.first, self.last]

    def records(self, start: int = 0) -> Iterator[Record]:
        return itertools.islice(
            self.source.records(self.first + start), max(0, self.last - self.first - start)
        )

    def cut(self, count: int) -> tuple[Input, ...]:
        return (self,)


def stretches(source: Input, length: int, count: int) -> tuple[Input, ...]:
    """An input of so many records, cut into count of about the same length."""
    edges = [length * k // count for k in range(count + 1)]
    return tuple(Stretch(source, source.size / count, a, b) for a, b in itertools.pairwise(edges))
