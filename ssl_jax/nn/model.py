# SPDX-License-Identifier: Apache-2.0
"""A trunk and its heads, and their parameters as a plain nested dict.

nnx constructs and names; everything that runs is a pure function of the dict.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
from flax import nnx
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int, Key

from ssl_jax import parallel

Params = dict[str, Any]  # {"trunk": {...}, "heads": {"mlm": {...}}}; heads without parameters are absent


class HeadSet(nnx.Module):
    """Heads by name: heads["mlm"], or heads.mlm."""

    def __init__(self, heads: Mapping[str, nnx.Module]):
        for name, head in heads.items():
            setattr(self, name, head)
        self.names = tuple(heads)

    def __getitem__(self, name: str) -> nnx.Module:
        if name not in self.names:
            raise KeyError(f"no head {name!r}; there are {', '.join(self.names) or 'none'}")
        return getattr(self, name)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)


class Model(nnx.Module):
    """What an objective's loss is given."""

    def __init__(self, trunk: nnx.Module, heads: Mapping[str, nnx.Module]):
        self.trunk = trunk
        self.heads = HeadSet(heads)

    def encode(
        self,
        tokens: Int[Array, "B T"],
        segments: Int[Array, "B T"],
        types: Int[Array, "B T"] | None = None,
        key: Key[Array, ""] | None = None,
    ) -> Float[Array, "B T D"]:
        """Tokens to hidden states: embed, then the trunk, each with its own half of the key."""
        embed_key, trunk_key = (None, None) if key is None else jax.random.split(key)
        return self.trunk(self.trunk.embed(tokens, segments, types, embed_key), segments, trunk_key)


def split(model: nnx.Module) -> tuple[Any, Params]:
    """(graphdef, params): the static half, and a nested dict, with str keys, of arrays."""
    graphdef, state = nnx.split(model)
    return graphdef, nnx.to_pure_dict(state)


def merge(graphdef: Any, params: Params) -> Any:
    """The module that split took apart, over these arrays (or tracers)."""
    return nnx.merge(graphdef, nnx.State(params))


def abstract(build: Callable[[nnx.Rngs], nnx.Module]) -> tuple[Any, Any, Params]:
    """(graphdef, axes, shapes) of the module that build(rngs) makes; nothing is computed, on no device."""
    static: dict[str, Any] = {}

    def params_of(key):
        model = build(nnx.Rngs(key))
        static["axes"] = parallel.axes_of(model)
        static["graphdef"], params = split(model)
        return params

    # A shape, no key: the devices of the mesh may be ones that only a compiler knows.
    shapes = jax.eval_shape(params_of, jax.eval_shape(lambda: jax.random.key(0)))
    return static["graphdef"], static["axes"], shapes


def init(
    build: Callable[[nnx.Rngs], nnx.Module], key: Key[Array, ""], mesh: Mesh, rules: parallel.Rules
) -> tuple[Any, Params]:
    """(graphdef, params) of build(rngs), every leaf born where the rules put it.

    The draws are the same on every mesh.
    """
    with parallel.use(mesh, rules):
        graphdef, axes, shapes = abstract(build)
        shardings = parallel.shardings(axes, shapes, mesh, rules)
        draw = lambda key: split(build(nnx.Rngs(key)))[1]
        params = jax.jit(draw, out_shardings=shardings, compiler_options=parallel.once(mesh))(key)
    return graphdef, params
