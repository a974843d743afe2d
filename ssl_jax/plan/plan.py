# SPDX-License-Identifier: Apache-2.0
"""``ssl-jax plan``: does it fit, what does it send, how long at best, at what cost; if not, what would."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssl_jax import hf
from ssl_jax.experiment import Experiment
from ssl_jax.plan import topology
from ssl_jax.plan.fitting import Change, smallest_change
from ssl_jax.plan.look import View, look
from ssl_jax.plan.ready import Ready, ready
from ssl_jax.plan.roofline import Roofline, Work, roofline, work_of
from ssl_jax.plan.start import ANY_STEPS
from ssl_jax.plan.topology import Target
from ssl_jax.types import Meta, UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """num_steps: None where it depends on a store that isn't there.  change: None where the recipe fits as it
    is, or where nothing tried does.  larger: a topology on which it fits without a change of the recipe.
    work, bound: with the change, if there is one.
    """

    target: Target
    experiment: Experiment
    ready: Ready
    num_steps: int | None
    view: View
    change: Change | None
    larger: str | None
    work: Work
    bound: Roofline | None
    price: float | None  # of a chip and hour

    @property
    def fits(self) -> bool:
        return self.view.memory.fits

    @property
    def best(self) -> View:
        """As it would run: with the change, if there is one."""
        return self.change.view if self.change else self.view


def plan(
    experiment: Experiment,
    target: Target,
    *,
    host_devices: list[Any] | None,
    price: float | None,
    exported: bool,
    say: Say,
) -> Plan:
    """host_devices: devices of the CPU to compile for in place of the target's.  exported: whether the model
    is to leave for transformers.  say: what is being done, one line at a time.

    Raises UserError for a recipe that no architecture of transformers can express.
    """
    wrong = hf.inexpressible(experiment.model, experiment.objective)
    if wrong and exported:
        raise UserError(
            f"export will refuse this model: no architecture of transformers has {', '.join(wrong)}; "
            "change it, or plan with --no-export"
        )
    say("look at what is prepared")
    found = ready(experiment)
    steps = found.num_steps(experiment)

    def seen(candidate: Experiment, where: Target = target) -> View:
        words = "compile" if where.compiles or host_devices else "look at"
        say(f"{words} the step for {where.name}{_differences(experiment, candidate)}")
        return look(candidate, Meta(tokenizer=found.tokenizer), where, steps or ANY_STEPS, host_devices)

    view = seen(experiment)
    change = larger = None
    if not view.memory.fits:
        change = smallest_change(experiment, view, seen, most_fsdp(target, view))
        if change is None:
            larger = _larger(experiment, target, seen)
    best = change.view if change else view
    work = work_of(best)
    bound = roofline(best, work, target.chip) if target.chip and best.memory.fits else None
    return Plan(target, experiment, found, steps, view, change, larger, work, bound, price)


def most_fsdp(target: Target, view: View) -> int:
    """The largest fsdp axis to try: it stays inside a TPU slice, and may reach over machines of GPUs."""
    mesh = view.program.layout.mesh.shape
    return mesh["data"] * mesh["fsdp"] // _slices(target)


def _slices(target: Target) -> int:
    return target.num_slices if target.chip is None or target.chip.dims else 1


def _differences(experiment: Experiment, candidate: Experiment) -> str:
    if candidate == experiment:
        return ""
    words = (
        f"micro_batch={candidate.loop.micro_batch}, fsdp={candidate.mesh.fsdp}, {candidate.model.remat.name}"
    )
    return f" ({words})"


def _larger(experiment: Experiment, target: Target, seen: Callable[[Experiment, Target], View]) -> str | None:
    """The next topology on which the recipe fits as it is, or with every parameter sharded."""
    name, _, shape = target.name.rpartition(" ")[2].partition(":")
    if target.chip is None or not shape:
        return None
    sizes = [int(n) for n in shape.split("x")]
    while True:
        sizes[sizes.index(min(sizes))] *= 2
        words = f"{name}:{'x'.join(map(str, sorted(sizes)))}"
        try:
            where = topology.target_of(words, _slices(target))
            whole = dataclasses.replace(experiment.mesh, data=1, fsdp=-1)
            for mesh, extra in ((experiment.mesh, ""), (whole, " --set mesh.data=1 --set mesh.fsdp=-1")):
                if seen(dataclasses.replace(experiment, mesh=mesh), where).memory.fits:
                    return f"--topology {words}{extra}"
        except UserError:
            return None
