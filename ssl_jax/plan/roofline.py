# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of a step, and the least time that it can take: the slowest of arithmetic, memory, networks.

A bound, no forecast: nothing overlaps perfectly, no kernel reaches the peak, a ring of one axis does not use
all links of a torus (Williams et al. 2009, "Roofline").
"""

from dataclasses import dataclass

import jax

from ssl_jax import parallel
from ssl_jax.loop import flops
from ssl_jax.parallel import Chip
from ssl_jax.plan.look import View


@dataclass(frozen=True)
class Work:
    """Of a whole step.  flops: by our formula; executed: with what is computed again for the backward pass;
    least: likewise, but where layers differ (windows) all as the cheapest; positions: of the global batch,
    padding included."""

    flops: float
    executed: float
    least: float
    positions: int


@dataclass(frozen=True)
class Roofline:
    """seconds: resource -> its least time, a step.  unknown: what is left out, and why.  peak: FLOP/s of all
    devices."""

    work: Work
    seconds: dict[str, float]
    unknown: tuple[str, ...]
    peak: float

    @property
    def limit(self) -> str:
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def step(self) -> float:
        return max(self.seconds.values())

    @property
    def positions_per_s(self) -> float:
        return self.work.positions / self.step

    @property
    def mfu(self) -> float:
        return self.work.flops / (self.peak * self.step)

    def chip_hours(self, num_steps: int, num_chips: int) -> float:
        """At the bound: the run takes more."""
        return self.step * num_steps * num_chips / 3600


def work_of(view: View) -> Work:
    made = view.program
    rows = made.layout.batch_size
    with parallel.use(made.layout.mesh, made.layout.rules):
        step = jax.make_jaxpr(made.step)(made.blueprint.shapes, made.batch).jaxpr

    def executed(branch):
        # The first call, for the weights alone, is traced but never run: a third of forward and backward.
        return flops.of_jaxpr(step, branch) - made.flops_per_row(branch) * rows / 3

    useful = made.flops_per_row() * rows
    return Work(useful, executed(max), executed(min), rows * made.bound.objective.plan.length)


def roofline(view: View, work: Work, chip: Chip) -> Roofline:
    num_devices = view.program.layout.mesh.size
    seconds = {"arithmetic": work.least / num_devices / chip.peak}
    unknown = []
    if view.compiled is None:
        unknown.append("memory and networks: nothing was compiled")
    else:
        inside = sum(sent.bytes for sent in view.compiled.sent if not sent.across)
        across = sum(sent.bytes for sent in view.compiled.sent if sent.across)
        if view.memory.estimated:
            unknown.append("memory traffic: compiled for another kind of device")
        else:
            seconds["memory"] = view.compiled.memory_bytes / chip.memory_rate
        seconds["links"] = inside / chip.link
        if chip.network is not None:
            seconds["network"] = across / chip.network
        elif across:
            unknown.append("the network between slices: its rate isn't known")
    return Roofline(work, seconds, tuple(unknown), num_devices * chip.peak)
