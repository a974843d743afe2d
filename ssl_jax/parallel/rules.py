# SPDX-License-Identifier: Apache-2.0
"""Logical axis names to mesh axes."""

import math
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ssl_jax.types import Axes, UserError

AXES = ("data", "fsdp", "tensor", "context")  # of every mesh, the slowest network first
SMALL_BYTES = 2**20  # a leaf below this is replicated where it does not divide, and never worth an error


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Logical axis -> mesh axis (or axes, or None: never sharded).

    Parameters: layers, vocab, embed, mlp, heads, kv_heads, head_dim, positions.
    Activations: batch (rows), length (positions of a row), norm_length (likewise, between attention and MLP:
    norms, dropout and the residual stream).  Sequence parallelism (Korthikanti et al. 2022, sec. 4.2.2) is
    norm_length=("context", "tensor").
    """

    layers: str | None = None
    vocab: str | None = "tensor"
    embed: str | None = "fsdp"
    mlp: str | None = "tensor"
    heads: str | None = "tensor"
    kv_heads: str | None = "tensor"
    head_dim: str | None = None
    positions: str | None = None
    batch: tuple[str, ...] = ("data", "fsdp")
    length: str | None = "context"
    norm_length: tuple[str, ...] = ("context",)

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            for axis in self.mesh_axes(name):
                if axis not in AXES:
                    raise UserError(f"mesh.rules.{name}: no axis {axis!r}; there are {', '.join(AXES)}")

    def mesh_axes(self, name: str | None) -> tuple[str, ...]:
        """The mesh axes of one logical axis.  Raises KeyError for a name that no field has."""
        if name is None:
            return ()
        if name not in self.__dataclass_fields__:
            raise KeyError(
                f"logical axis {name!r} has no rule; there are {', '.join(self.__dataclass_fields__)}"
            )
        axes = getattr(self, name)
        return axes if isinstance(axes, tuple) else () if axes is None else (axes,)

    def parts(self, name: str, mesh: Mesh) -> int:
        """Into how many parts a mesh cuts a dimension of this logical name."""
        return math.prod(mesh.shape[axis] for axis in self.mesh_axes(name))


def spec_of(
    names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh, rules: Rules, *, strict: bool
) -> PartitionSpec:
    """The PartitionSpec of an array whose dimensions have these logical names.

    Mesh axes of size 1 are left out, and an axis that an earlier dimension took.  A dimension that does not
    divide is replicated, or with strict a UserError.
    """
    entries, taken = [], set()
    for name, size in zip(names, shape, strict=True):
        axes = tuple(a for a in rules.mesh_axes(name) if mesh.shape[a] > 1 and a not in taken)
        ways = math.prod(mesh.shape[a] for a in axes)
        if size % ways:
            if strict:
                raise UserError(f"{name}={size} does not divide by the mesh's {'*'.join(axes)}={ways}")
            axes = ()
        taken.update(axes)
        entries.append(axes if len(axes) > 1 else axes[0] if axes else None)
    while entries and entries[-1] is None:
        entries.pop()
    return PartitionSpec(*entries)


def axes_of(model: nnx.Module) -> dict[str, Any]:
    """The logical axes of a module's parameters: the tree of nn.split's params, with types.Axes leaves."""
    state = nnx.state(model, nnx.Param)
    flat = {path: Axes(tuple(param.get_metadata()["axes"])) for path, param in nnx.to_flat_state(state)}
    tree: dict[str, Any] = {}
    for path, axes in flat.items():
        node = tree
        for part in path[:-1]:
            node = node.setdefault(str(part), {})
        node[str(path[-1])] = axes
    return tree


def shardings(axes: Any, shapes: Any, mesh: Mesh, rules: Rules) -> Any:
    """The tree of NamedShardings of parameters, from their axes and shapes (anything with .shape and .dtype).

    A dimension that does not divide by its mesh axes is replicated where the leaf is below 1 MiB (a bias, a
    tiny model: nothing is lost), and otherwise a UserError that names the leaf.
    """

    def one(path, names, leaf):
        strict = math.prod(leaf.shape) * leaf.dtype.itemsize >= SMALL_BYTES
        try:
            return NamedSharding(mesh, spec_of(names.names, leaf.shape, mesh, rules, strict=strict))
        except UserError as error:
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            raise UserError(
                f"{name} {tuple(leaf.shape)}: {error}; change the mesh or the model's sizes"
            ) from None

    return jax.tree_util.tree_map_with_path(one, axes, shapes, is_leaf=lambda x: isinstance(x, Axes))


def batch_sharding(mesh: Mesh, rules: Rules | None = None) -> NamedSharding:
    """The sharding of a batch's arrays [B, ...]: rows over data and fsdp, everything else whole.

    Rows stay whole over context too: their numbers are a few bytes a position, every process that has a part
    of a row can make all of it, and segments, masked positions and targets are read across the row.
    """
    axes = tuple(a for a in (rules or Rules()).batch if mesh.shape[a] > 1)
    return NamedSharding(
        mesh, PartitionSpec(axes if len(axes) != 1 else axes[0]) if axes else PartitionSpec()
    )
