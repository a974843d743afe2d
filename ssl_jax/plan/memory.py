# SPDX-License-Identifier: Apache-2.0
"""Where a device's memory goes: the state by its shardings, the rest by the compiler or by an estimate."""

import math
import re
from dataclasses import dataclass
from typing import Any

import jax
from flax import nnx

from ssl_jax import parallel
from ssl_jax.loop.step import sums
from ssl_jax.program import Program, batch_shapes

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_SIZE = r"([\d.]+)([KMGT]?)"
# How XLA:TPU says that a program doesn't fit.  What it calls temporaries is all: of a program whose arguments
# take 1.94 GiB it refused 15.78 at a peak of 15.78, and accepted one layer less at 15.25 (libtpu 0.0.42).
_REFUSED = re.compile(
    rf"(?:required for HLO temporaries|in memory space hbm\. Used) \(?{_SIZE}\)? "
    rf"(?:exceeds available HBM|of) \(?{_SIZE}\)?"
)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes a device.

    state: parameters, moments and so on, by their shardings.  temporaries: activations, gradients and what
    the compiler needs between; padding: what layouts add to the state; code: the program.  capacity: None
    where unknown.  estimated: temporaries are no compiler's number.  accepted: what a compiler that knows the
    device's memory says; None where it doesn't know.
    """

    parameters: int
    moments: int
    average: int
    extra: int
    batch: int
    padding: int = 0
    temporaries: int
    code: int = 0
    capacity: int | None
    estimated: bool = False
    accepted: bool | None = None

    @property
    def fixed(self) -> int:
        """What no smaller micro-batch makes less."""
        return (
            self.parameters + self.moments + self.average + self.extra + self.batch + self.padding + self.code
        )

    @property
    def total(self) -> int:
        return self.fixed + self.temporaries

    @property
    def fits(self) -> bool:
        if self.accepted is not None:
            return self.accepted
        return self.capacity is None or self.total <= self.capacity


def held(shapes: Any, shardings: Any) -> int:
    """Bytes that one device holds of a tree of shapes."""
    sizes = jax.tree.map(
        lambda shape, sharding: math.prod(sharding.shard_shape(shape.shape)) * shape.dtype.itemsize,
        shapes,
        shardings,
    )
    return sum(jax.tree.leaves(sizes))


def of_state(program: Program) -> dict[str, int]:
    """The parts of Memory that follow from shardings alone."""
    shapes, shardings = program.blueprint.shapes, program.blueprint.shardings
    batch = sum(math.prod(x.sharding.shard_shape(x.shape)) * x.dtype.itemsize for x in program.batch.values())
    extra = held(
        (shapes.extra, shapes.guards, shapes.step), (shardings.extra, shardings.guards, shardings.step)
    )
    return {
        "parameters": held(shapes.params, shardings.params),
        "moments": held(shapes.opt, shardings.opt),
        "average": held(shapes.ema, shardings.ema),
        "extra": extra,
        "batch": batch,
    }


def of_compiled(program: Program, compiled: Any, capacity: int | None) -> Memory:
    parts, found = of_state(program), compiled.memory_analysis()
    knows = program.layout.mesh.devices.flat[0].platform == "tpu"
    arguments = found.argument_size_in_bytes
    if knows:  # its peak is what it judges by; its temporaries also count what lies where an argument lay
        between = found.peak_memory_in_bytes - arguments
    else:
        between = found.temp_size_in_bytes + found.output_size_in_bytes - found.alias_size_in_bytes
    return Memory(
        **parts,
        padding=max(0, arguments - sum(parts.values())),
        temporaries=max(0, between),
        code=found.generated_code_size_in_bytes,
        capacity=capacity,
        accepted=True if knows else None,
    )


def of_refusal(program: Program, message: str) -> Memory | None:
    """From the compiler's complaint that memory ran out; None where it complains of something else."""
    parts = of_state(program)
    if (found := _REFUSED.search(message)) is None:
        return None
    needed, limit = (int(float(found[i]) * _UNITS[found[i + 1]]) for i in (1, 3))
    temporaries = max(needed - sum(parts.values()), 0)
    return Memory(**parts, temporaries=temporaries, capacity=limit, accepted=False)


def by_estimate(program: Program, capacity: int | None) -> Memory:
    """Temporaries as gradients and activations: what XLA fuses away is counted, what it needs within an
    operation is not."""
    temporaries = gradient_bytes(program) + activation_bytes(program)
    return Memory(**of_state(program), temporaries=temporaries, capacity=capacity, estimated=True)


def of_temporaries(program: Program, total: int) -> dict[str, int]:
    """Of so many bytes the gradients and the activations, by their formulas, and the rest."""
    gradients = min(gradient_bytes(program), total)
    activations = min(activation_bytes(program), total - gradients) if total else 0
    return {"gradients": gradients, "activations": activations, "rest": total - gradients - activations}


def gradient_bytes(program: Program) -> int:
    """Of a device: float32 and sharded as the parameters; twice while micro-batches are accumulated."""
    copies = 2 if program.layout.accumulation > 1 else 1
    return copies * held(program.blueprint.shapes.params, program.blueprint.shardings.params)


def activation_bytes(program: Program) -> int:
    """Of a device: what the backward pass keeps of one micro-batch.  What a tensor axis parts is counted
    whole."""
    layout = program.layout
    parted = (layout.rules.parts(name, layout.mesh) for name in ("batch", "length"))
    return residual_bytes(program) // math.prod(parted)


def residual_bytes(program: Program) -> int:
    """Bytes of all that the backward pass of one global micro-batch keeps, parameters left out."""
    layout, bound, shapes = program.layout, program.bound, program.blueprint.shapes
    batch = batch_shapes(bound.objective, layout, layout.batch_size // layout.accumulation)

    def residuals(params, extra, batch, key):
        def loss(params):
            model = nnx.merge(program.blueprint.graphdef, params)
            return sums(bound.objective.loss(model, extra, batch, key), batch["valid"], "total")

        return jax.vjp(loss, params)[1]

    key = jax.eval_shape(lambda: jax.random.key(0))
    with parallel.use(layout.mesh, layout.rules):
        kept = jax.tree.leaves(jax.eval_shape(residuals, shapes.params, shapes.extra, batch, key))
    of_parameters = {leaf.shape for leaf in jax.tree.leaves(shapes.params)}
    return sum(leaf.size * leaf.dtype.itemsize for leaf in kept if leaf.shape not in of_parameters)
