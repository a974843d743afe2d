# SPDX-License-Identifier: Apache-2.0
"""``ssl-jax plan``: does it fit, what does it send, how long at best, at what cost; if not, what would."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ssl_jax import hf
from ssl_jax.experiment import Experiment
from ssl_jax.plan.fitting import Change, larger_topology, smallest_change
from ssl_jax.plan.look import View, look
from ssl_jax.plan.memory import of_temporaries
from ssl_jax.plan.ready import Ready, ready
from ssl_jax.plan.roofline import Roofline, Work, roofline, work_of
from ssl_jax.plan.start import ANY_STEPS
from ssl_jax.plan.topology import Target
from ssl_jax.types import Meta, UserError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """num_steps: None where it depends on a store that isn't there.  change: None where the recipe fits as it
    is, or where nothing tried does.  larger: words for a larger topology on which it fits.  tried: what was
    looked at after the recipe as it is, in words.  temporaries: what memory's hold, bytes a device.
    work, bound: with the change, if there is one.
    """

    target: Target
    experiment: Experiment
    ready: Ready
    num_steps: int | None
    view: View
    change: Change | None
    larger: str | None
    tried: tuple[str, ...]
    temporaries: dict[str, int]
    work: Work
    bound: Roofline | None
    price: float | None  # of a chip and hour

    @property
    def fits(self) -> bool | None:
        """None where nobody knows: the devices' memory isn't known."""
        memory = self.view.memory
        return None if memory.capacity is None and memory.accepted is None else memory.fits

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
        view = look(candidate, Meta(tokenizer=found.tokenizer), where, steps or ANY_STEPS, host_devices)
        tried.append(_words(candidate, view, where))
        return view

    tried: list[str] = []
    view = seen(experiment)
    change = larger = None
    if not view.memory.fits:
        change = smallest_change(experiment, view, seen, most_fsdp(target, view))
        if change is None:
            larger = larger_topology(experiment, target, seen, slices_of(target))
    best = change.view if change else view
    work = work_of(best)
    bound = roofline(best, work, target.chip) if target.chip and best.memory.fits else None
    parts = of_temporaries(view.program, view.memory.temporaries)
    return Plan(
        target=target,
        experiment=experiment,
        ready=found,
        num_steps=steps,
        view=view,
        change=change,
        larger=larger,
        tried=tuple(tried[1:]),
        temporaries=parts,
        work=work,
        bound=bound,
        price=price,
    )


def most_fsdp(target: Target, view: View) -> int:
    """The largest fsdp axis to try: it stays inside a TPU slice, and may reach over machines of GPUs."""
    mesh = view.program.layout.mesh.shape
    return mesh["data"] * mesh["fsdp"] // slices_of(target)


def slices_of(target: Target) -> int:
    """Of TPUs; machines of GPUs are one."""
    return target.num_slices if target.chip is None or target.chip.dims else 1


def _words(candidate: Experiment, view: View, where: Target) -> str:
    layout = view.program.layout
    rows = layout.batch_size // layout.accumulation // layout.rules.parts("batch", layout.mesh)
    return f"{where.name} ({layout.axes}), {rows} rows at a time, remat {candidate.model.remat.name}"


def _differences(experiment: Experiment, candidate: Experiment) -> str:
    if candidate == experiment:
        return ""
    words = (
        f"micro_batch={candidate.loop.micro_batch}, fsdp={candidate.mesh.fsdp}, {candidate.model.remat.name}"
    )
    return f" ({words})"
