# SPDX-License-Identifier: Apache-2.0
"""What each parameter is to an optimizer, read from its logical axes: a vector, an embedding or a kernel.

Leading "layers" axes stack parameters of separate layers and count for nothing here: the bias of 12 layers,
[12, D], is a vector.  "heads" (or "kv_heads") followed by "head_dim" is one axis of features: the bias of an
attention projection, [H, K], is a vector too, and its kernel [D, H, K] is a matrix [D, H * K].
"""

import enum
import fnmatch
import math
from dataclasses import dataclass
from typing import Any

import jax

from ssl_jax.types import Axes, UserError

_VECTOR_NAMES = ("bias", "scale")  # unnamed axes leave [3, H, K] ambiguous; the name then settles it
_TABLE_AXES = ("vocab", "positions")


class Kind(enum.Enum):
    VECTOR = "vector"  # biases, scales of norms, single tokens
    EMBEDDING = "embedding"  # tables that are looked up by row
    KERNEL = "kernel"  # matrices that multiply


@dataclass(frozen=True, kw_only=True)
class Decay:
    """Which parameters weight decay acts on.

    The default is BERT's rule: every kernel and embedding, no bias and no norm.  skip: patterns (fnmatch) of
    paths such as "heads.mlm.*" that are never decayed; one that fits nothing is a UserError.
    """

    kernels: bool = True
    embeddings: bool = True
    vectors: bool = False
    skip: tuple[str, ...] = ()

    def covers(self, path: str, kind: Kind) -> bool:
        chosen = {Kind.KERNEL: self.kernels, Kind.EMBEDDING: self.embeddings, Kind.VECTOR: self.vectors}
        return chosen[kind] and not any(fnmatch.fnmatchcase(path, pattern) for pattern in self.skip)


@dataclass(frozen=True)
class Matrix:
    """How an array of one layer is seen as matrices: axis numbers of batch, rows and columns."""

    batch: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]

    def shape(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """(number of matrices, rows, columns) of an array of one layer."""
        return tuple(math.prod(shape[i] for i in axes) for axes in (self.batch, self.rows, self.columns))


@dataclass(frozen=True)
class Leaf:
    """One parameter.  axes: the logical names of one layer; depth: how many "layers" axes lead."""

    keys: tuple[str, ...]
    axes: tuple[str | None, ...]
    depth: int
    kind: Kind
    decayed: bool

    @property
    def path(self) -> str:
        return ".".join(self.keys)

    def matches(self, patterns: tuple[str, ...]) -> bool:
        """Whether one of the patterns (fnmatch) is the path's."""
        return any(fnmatch.fnmatchcase(self.path, pattern) for pattern in patterns)

    @property
    def hidden_matrix(self) -> Matrix | None:
        """The matrix of a hidden layer that this kernel is; None for vectors, embeddings and all heads.

        Rows and columns are the last two named axes; any other axis (the 3 of a fused query-key-value kernel,
        experts) counts several matrices.
        """
        named = [axes for axes in _features(self.axes) if self.axes[axes[0]] is not None]
        in_table = any(name in _TABLE_AXES for name in self.axes)
        if self.kind is not Kind.KERNEL or self.keys[0] == "heads" or in_table or len(named) < 2:
            return None
        rows, columns = named[-2:]
        batch = tuple(i for i in range(len(self.axes)) if i not in rows + columns)
        return Matrix(batch, rows, columns)


def leaves_of(axes: Any, decay: Decay) -> tuple[list[Leaf], Any]:
    """The leaves of a tree of types.Axes in jax.tree's order, and its treedef."""
    with_paths, treedef = jax.tree_util.tree_flatten_with_path(axes)
    leaves = [_leaf(path, names, decay) for path, names in with_paths]
    check_patterns("optim.decay.skip", decay.skip, leaves)
    return leaves, treedef


def check_patterns(field: str, patterns: tuple[str, ...], leaves: list[Leaf]) -> None:
    """Raises UserError for a pattern that fits no parameter."""
    for pattern in patterns:
        if not any(leaf.matches((pattern,)) for leaf in leaves):
            known = ", ".join(leaf.path for leaf in leaves[:3])
            raise UserError(f"{field}: no parameter is called {pattern!r}; they are called {known}, ...")


def _leaf(path: Any, axes: Axes, decay: Decay) -> Leaf:
    keys = tuple(jax.tree_util.keystr((key,), simple=True) for key in path)
    depth = next((i for i, name in enumerate(axes.names) if name != "layers"), len(axes.names))
    inner = axes.names[depth:]
    kind = _kind(keys, inner)
    return Leaf(keys, inner, depth, kind, decay.covers(".".join(keys), kind))


def _kind(keys: tuple[str, ...], axes: tuple[str | None, ...]) -> Kind:
    rank = len(_features(axes))
    if rank <= 1 or keys[-1] in _VECTOR_NAMES:
        return Kind.VECTOR
    if axes[0] in _TABLE_AXES or (axes[0] is None and rank == 2):  # [None, embed]: token types
        return Kind.EMBEDDING
    return Kind.KERNEL


def _features(axes: tuple[str | None, ...]) -> list[tuple[int, ...]]:
    """Axis numbers, those of heads and of head_dim behind it together."""
    groups: list[tuple[int, ...]] = []
    for i, name in enumerate(axes):
        if name == "head_dim" and i and axes[i - 1] in ("heads", "kv_heads"):
            groups[-1] += (i,)
        else:
            groups.append((i,))
    return groups
