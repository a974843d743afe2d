# SPDX-License-Identifier: Apache-2.0
"""The least time that a step can take: the slowest of arithmetic, memory and networks, each at its full rate.

A bound, no forecast: nothing overlaps perfectly, no kernel reaches the peak, a ring of one axis does not use
all links of a torus (Williams et al. 2009, "Roofline").
"""

from dataclasses import dataclass

from ssl_jax.parallel import Chip
from ssl_jax.plan.look import View, executed_flops


@dataclass(frozen=True)
class Roofline:
    """seconds: resource -> its least time, a step.  unknown: what is left out, and why.

    flops: of the whole step by our formula, and executed with what is computed again.
    """

    seconds: dict[str, float]
    unknown: tuple[str, ...]
    flops: float
    executed: float
    tokens: int  # positions of a global batch
    num_devices: int
    peak: float

    @property
    def limit(self) -> str:
        return max(self.seconds, key=self.seconds.__getitem__)

    @property
    def step(self) -> float:
        return max(self.seconds.values())

    @property
    def tokens_per_s(self) -> float:
        return self.tokens / self.step

    @property
    def mfu(self) -> float:
        return self.flops / (self.num_devices * self.peak * self.step)


def roofline(view: View, chip: Chip) -> Roofline:
    made = view.program
    batch = made.layout.batch_size
    executed = executed_flops(view)
    seconds = {"arithmetic": executed / view.num_devices / chip.peak}
    unknown = []
    if view.compiled is None:
        unknown.append("memory and networks: nothing was compiled")
    else:
        inside = sum(sent.bytes for sent in view.compiled.sent if not sent.across)
        across = sum(sent.bytes for sent in view.compiled.sent if sent.across)
        seconds["memory"] = view.compiled.memory_bytes / chip.memory_rate
        seconds["links"] = inside / chip.link
        if chip.network is not None:
            seconds["network"] = across / chip.network
        elif across:
            unknown.append("the network between slices: its rate isn't known")
    return Roofline(
        seconds=seconds,
        unknown=tuple(unknown),
        flops=made.flops_per_row() * batch,
        executed=executed,
        tokens=batch * made.bound.objective.plan.length,
        num_devices=view.num_devices,
        peak=chip.peak,
    )


def chip_hours(bound: Roofline, num_steps: int, num_chips: int) -> float:
    """At the bound: the run takes more."""
    return bound.step * num_steps * num_chips / 3600
