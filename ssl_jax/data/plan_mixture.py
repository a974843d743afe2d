# SPDX-License-Identifier: Apache-2.0
"""Several weighted sources in one plan: exact counts in every block of rows."""

import enum
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.data.plan_base import Documents, SourcePlan, TokenStore, fingerprint
from ssl_jax.data.plan_permutation import bits, derive, permute
from ssl_jax.types import OpenPlan, Row, UserError

MIX_BLOCK = 1024


class MixUnit(enum.Enum):
    """What the weights of sources count."""

    ROWS = "rows"
    TOKENS = "tokens"


def open_sources(
    plan: Any, source_plan: Callable[..., SourcePlan], store: TokenStore, seed: int, shuffle: bool
) -> OpenPlan:
    """The plan over a store of one source, or over each of its sources, mixed by their weights.

    Raises UserError where a source has nothing to give, or too small a weight.
    """
    names = store.source_weights
    if len(names) == 1:
        return source_plan(plan, store, seed, shuffle, 0, Documents.of(store))
    kinds = range(len(names))
    if not shuffle:  # a small source may have no held-out document at all
        sources = np.asarray(store.doc_sources)
        kinds = [s for s in kinds if np.any(sources == s)]
    parts = [source_plan(plan, store, seed, shuffle, s, Documents.of(store, s)) for s in kinds]
    if not shuffle:
        return Joined(plan, store, seed, parts)
    return Mixed(plan, store, seed, parts)


class Joined:
    """Evaluation: each row of each source once, one source after the other; weights play no part."""

    def __init__(self, plan: Any, store: TokenStore, seed: int, parts: list[SourcePlan]):
        if not parts:
            raise UserError("no source has a document on this side of the split; raise data.heldout")
        self.parts = parts
        self.ends = np.cumsum([p.num_rows for p in parts])
        self.num_rows = int(self.ends[-1])
        self.num_tokens = sum(p.num_tokens for p in parts)
        self.fingerprint = fingerprint(plan, store, seed, "joined")

    def __getitem__(self, r: int) -> Row:
        epoch, place = divmod(r, self.num_rows)
        k = int(np.searchsorted(self.ends, place, "right"))
        part = self.parts[k]
        return part.row(epoch * part.num_rows + place - int(self.ends[k]) + part.num_rows, r)

    def report(self) -> str:
        return "\n".join(p.report() for p in self.parts)


class Mixed:
    """Rows drawn from sources by weight: each block of 1,024 has the same exact counts (largest remainder)
    in an order of its own.  Each source runs through epochs of its own, so that a small one repeats.  An
    epoch of the mixture is as many rows as the sources hold together.
    """

    def __init__(self, plan: Any, store: TokenStore, seed: int, parts: list[SourcePlan]):
        self.parts, self.unit = parts, plan.mix_by
        self.wanted = np.array([weight for _, weight in store.source_weights], np.float64)
        self.counts = self._counts()
        self.starts = np.concatenate([[0], np.cumsum(self.counts)]).tolist()
        self.num_rows = sum(p.num_rows for p in parts)
        shares = self.counts / MIX_BLOCK
        self._tokens = shares * [p.num_tokens / p.num_rows for p in parts]  # of each source, in a mean row
        self.num_tokens = round(float(self._tokens.sum()) * self.num_rows)
        self.fingerprint = fingerprint(plan, store, seed, "mixture")
        self._key = derive(seed, "mixture")
        self._order: tuple[int, list[int], list[int]] = (-1, [], [])

    def _counts(self) -> np.ndarray:
        weights = self.wanted
        if not np.all(weights > 0):
            raise UserError("weights of sources must be greater than 0")
        if self.unit is MixUnit.TOKENS:
            weights = weights / [p.num_tokens / p.num_rows for p in self.parts]
        exact = weights / weights.sum() * MIX_BLOCK
        counts = np.floor(exact).astype(np.int64)
        rest = np.argsort(counts - exact, kind="stable")[: MIX_BLOCK - counts.sum()]
        counts[rest] += 1
        for part, count in zip(self.parts, counts):
            if not count:
                raise UserError(
                    f"source {part.name}: its weight gives it no row in {MIX_BLOCK:,}; raise it or drop it"
                )
        return counts

    def __getitem__(self, r: int) -> Row:
        block, i = divmod(r, MIX_BLOCK)
        known, kinds, ranks = self._order
        if known != block:
            key = int(bits(self._key, np.array([block]))[0])
            at = permute(np.arange(MIX_BLOCK), MIX_BLOCK, key)
            kind = np.searchsorted(self.starts, at, "right") - 1
            kinds, ranks = kind.tolist(), (at - np.array(self.starts)[kind]).tolist()
            self._order = block, kinds, ranks
        k = kinds[i]
        return self.parts[k].row(block * int(self.counts[k]) + ranks[i], r)

    def report(self) -> str:
        weights = self.wanted / self.wanted.sum()
        rows, tokens = self.counts / MIX_BLOCK, self._tokens / self._tokens.sum()
        got = rows if self.unit is MixUnit.ROWS else tokens
        lines = [p.report() for p in self.parts]
        lines.append(f"mixture: weights in {self.unit.value}, exact in every block of {MIX_BLOCK:,} rows")
        for k, part in enumerate(self.parts):
            times = rows[k] * self.num_rows / part.num_rows
            lines.append(
                f"  {part.name}: weight {weights[k]:.4f}, rows {rows[k]:.4f}, tokens {tokens[k]:.4f}, "
                f"deviation {got[k] - weights[k]:+.5f}, read {times:.2f} times in {self.num_rows:,} rows"
            )
        return "\n".join(lines)
