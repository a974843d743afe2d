# SPDX-License-Identifier: Apache-2.0
"""One FLOP formula: 2 * batch * M * N * K for every dot_general of the forward, times three for training.

Counted from the traced program, so positions that never reach the vocabulary aren't counted, and neither are
lookups, norms or rematerialisation.  Attention is counted over the full T x T map, causal or not.
"""

import math
from collections.abc import Callable
from typing import Any

import jax

from ssl_jax import parallel


def dot_flops(eqn: Any) -> int:
    (contract, _), _ = eqn.params["dimension_numbers"]
    lhs, out = eqn.invars[0].aval, eqn.outvars[0].aval
    return 2 * math.prod(out.shape) * math.prod(lhs.shape[d] for d in contract)


def of_jaxpr(jaxpr: Any, branch: Callable[..., int] = max) -> int:
    """FLOPs of the dot_generals in a jaxpr, on all devices, those inside loops and calls included.

    branch: which of a conditional's count, the most or the least.
    """
    total = 0
    for eqn in jaxpr.eqns:
        if eqn.primitive.name == "dot_general":
            total += dot_flops(eqn)
            continue
        inner = [of_jaxpr(j, branch) for p in eqn.params.values() for j in _jaxprs(p)]
        if eqn.primitive.name == "cond":
            total += branch(inner, default=0)
        else:
            total += _times(eqn) * sum(inner)
    return total


def _times(eqn: Any) -> int:
    """How often what an equation holds is computed: a scan's length, the parts that a shard_map cuts."""
    if eqn.primitive.name == "scan":
        return eqn.params["length"]
    if eqn.primitive.name != "shard_map":
        return 1
    entries = [entry for spec in eqn.params["in_specs"] for entry in spec if entry is not None]
    axes = {axis for entry in entries for axis in (entry if isinstance(entry, tuple) else (entry,))}
    return math.prod(eqn.params["mesh"].shape[axis] for axis in axes)


def _jaxprs(param: Any) -> list[Any]:
    items = param if isinstance(param, (tuple, list)) else [param]
    inner = [getattr(item, "jaxpr", item) for item in items]
    return [item for item in inner if hasattr(item, "eqns")]


def forward_flops(function: Callable[..., Any], *shapes: Any, branch: Callable[..., int] = max) -> int:
    """FLOPs of one call of function on arguments of these shapes."""
    return of_jaxpr(jax.make_jaxpr(function)(*shapes).jaxpr, branch)


def train_flops(function: Callable[..., Any], *shapes: Any, branch: Callable[..., int] = max) -> int:
    """FLOPs of forward and backward: every product of the forward has two in the backward."""
    return 3 * forward_flops(function, *shapes, branch=branch)


def peak(device: Any) -> float | None:
    """Peak dense bfloat16 FLOP/s of this device, or None where it isn't known."""
    chip = parallel.chip_of(device.device_kind)
    return chip.peak if chip else None
