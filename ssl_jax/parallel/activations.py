# SPDX-License-Identifier: Apache-2.0
"""Activations under the mesh in use: where they are pinned, and what runs on each device's part of them."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Key, Shaped

from ssl_jax.parallel.mesh import current, ruled_by
from ssl_jax.parallel.rules import Rules, spec_of

Names = tuple[str | None, ...]  # logical axes, one a dimension


def _spec(names: Names, shape: tuple[int, ...]) -> PartitionSpec:
    """Under the mesh in use; a dimension that does not divide stays whole."""
    return spec_of(names, shape, *current(), strict=False)


def shard(x: Shaped[Array, "..."], *names: str | None) -> Shaped[Array, "..."]:
    """x with its dimensions pinned to logical axes ("batch", "length", ...); None is replicated.

    Nothing happens without a mesh (see use) or on a single device; a dimension that does not divide stays
    whole, so that one row can be predicted on any mesh.
    """
    here = current()
    if here is None or here[0].size == 1:
        return x
    return jax.lax.with_sharding_constraint(x, NamedSharding(here[0], _spec(names, x.shape)))


def ways(name: str) -> int:
    """Into how many parts the mesh in use cuts a dimension of this logical name; 1 without a mesh."""
    here = current()
    return 1 if here is None else here[1].parts(name, here[0])


def split_axes(names: Names, shape: tuple[int, ...]) -> tuple[str, ...]:
    """The mesh axes that cut an array of these names and shape; () where it stays whole."""
    if current() is None:
        return ()
    entries = [entry for entry in _spec(names, shape) if entry is not None]
    return tuple(axis for entry in entries for axis in (entry if isinstance(entry, tuple) else (entry,)))


def filled_up(x: Shaped[Array, "B M *rest"], name: str) -> Shaped[Array, "B N *rest"]:
    """x with zeros behind, so that its second dimension divides under this logical name."""
    spare = -x.shape[1] % ways(name)
    return jnp.pad(x, ((0, 0), (0, spare), *((0, 0),) * (x.ndim - 2))) if spare else x


def on_each_device(
    part: Callable[..., Any],
    arrays: tuple[Any, ...],
    names: tuple[Names, ...],
    *,
    out: tuple[tuple[int, ...], Names],
) -> Any:
    """part of each device's own parts of the arrays: shard_map under the mesh in use, by logical names.

    out: shape and names of the whole result.  None among the arrays stays None.
    """
    specs = tuple(PartitionSpec() if x is None else _spec(n, x.shape) for x, n in zip(arrays, names))
    shape, out_names = out
    return jax.shard_map(part, mesh=current()[0], in_specs=specs, out_specs=_spec(out_names, shape))(*arrays)


def of_each_part(function: Callable[[Any, Any], Any], rows: Any, key: Key[Array, ""]) -> Any:
    """function(rows, key) of each data-parallel part of the rows [B, ...] alone: results [parts, ...].

    The parts stay on their devices until the caller sums them: what is accumulated over micro-batches
    is then sent over the axis `data`, the slowest, once and not once a micro-batch.  The rows of a part still
    lie over the other axes, and each part has a key of its own, so that dropout depends on how many there
    are.  One part without a mesh, where data cuts anything but rows, and where a row lies on several devices:
    jax 0.10 can't batch the loops in the shard_map of a row's parts.
    """
    here = current()
    if here is None or (parts := _data_parts(*here)) == 1:
        return jax.tree.map(lambda x: x[None], function(rows, key))
    mesh, rules = here
    rows = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), rows)
    with ruled_by(mesh, dataclasses.replace(rules, batch=rules.batch[1:])):
        return jax.vmap(function, spmd_axis_name="data")(rows, jax.random.split(key, parts))


def _data_parts(mesh: Mesh, rules: Rules) -> int:
    cut = [name for name in rules.__dataclass_fields__ if "data" in rules.mesh_axes(name)]
    apart = cut == ["batch"] and rules.batch[0] == "data" and rules.parts("length", mesh) == 1
    return mesh.shape["data"] if apart else 1


def own_key(key: Key[Array, ""] | None, axes: tuple[str, ...]) -> Key[Array, ""] | None:
    """Inside on_each_device: a key of this device's own, by its place on these mesh axes."""
    return None if key is None else jax.random.fold_in(key, jax.lax.axis_index(axes))


def length_is_sharded() -> bool:
    """Whether the positions of a row live on several devices."""
    return ways("length") > 1
