# SPDX-License-Identifier: Apache-2.0
"""One experiment on some devices, looked at: the step that a run would compile, and what it needs."""

import dataclasses
import time
from dataclasses import dataclass
from typing import Any

import jax

from ssl_jax.experiment import Experiment
from ssl_jax.plan import hbm, hlo, topology, traffic
from ssl_jax.plan.memory import Memory, by_estimate, of_compiled, of_refusal, of_state
from ssl_jax.plan.topology import Target
from ssl_jax.program import Program, bind, lay_out, program
from ssl_jax.types import Meta, UserError


@dataclass(frozen=True)
class Compiled:
    """What the compiler's program says: a device and a step.  flops: its own count.  guessed: loops whose
    number of iterations, and collectives whose devices, it doesn't say in words that we know."""

    sent: list[traffic.Sent]
    memory_bytes: float
    flops: float | None
    guessed: int
    seconds: float


@dataclass(frozen=True)
class View:
    """compiled: None where nothing was, or where the compiler ran out of the devices' memory."""

    program: Program
    memory: Memory
    compiled: Compiled | None


def look(
    experiment: Experiment,
    meta: Meta,
    target: Target,
    num_steps: int,
    devices: list[Any] | None = None,
) -> View:
    """num_steps: the length of the schedule.  devices: those to compile for, where they aren't the target's.

    Raises UserError where the mesh, the batch or the model don't go with the devices.
    """
    if devices is not None and len(devices) != len(target.devices):
        raise UserError(f"--host-devices {len(devices)}: {target.name} has {len(target.devices)} devices")
    layout = lay_out(experiment, devices or target.devices)
    meta = dataclasses.replace(meta, vocab_shards=layout.mesh.shape["tensor"])  # as if it were born here
    made = program(bind(experiment, meta), layout, num_steps)
    if devices is None and not target.compiles:
        return View(made, by_estimate(made, target.capacity), None)
    alone = Memory(**of_state(made), temporaries=0, capacity=target.capacity)
    if not alone.fits:  # nothing that a compiler does could help
        return View(made, alone, None)
    begin = time.perf_counter()
    try:
        with topology.environment_of(layout.mesh.devices.flat[0]):
            compiled = made.lower().compile()
    except jax.errors.JaxRuntimeError as error:
        memory = of_refusal(made, str(error))
        if memory is None:
            raise
        return View(made, memory, None)
    return view_of(made, compiled, time.perf_counter() - begin, target, devices)


def view_of(
    made: Program, compiled: Any, seconds: float, target: Target, devices: list[Any] | None = None
) -> View:
    """compiled: the program's step, in so many seconds.  The rest as in `look`."""
    module = hlo.read(compiled.as_text())
    slices = {id(device): number for device, number in zip(target.devices, target.slice_of)}
    order = list(made.layout.mesh.devices.flat)
    of_each = list(target.slice_of) if devices else [slices[id(device)] for device in order]
    found = Compiled(
        sent=traffic.collectives(module, of_each),
        memory_bytes=hbm.memory_bytes(module),
        flops=(compiled.cost_analysis() or {}).get("flops"),
        guessed=module.guessed + traffic.unread(module),
        seconds=seconds,
    )
    memory = of_compiled(made, compiled, target.capacity)
    if devices:  # another compiler's program
        memory = dataclasses.replace(memory, estimated=True)
    return View(made, memory, found)
