# SPDX-License-Identifier: Apache-2.0
"""What a run asks before step 0, on the devices that it has, and when their memory ran out all the same."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

import jax

from ssl_jax import parallel
from ssl_jax.assemble import Setup
from ssl_jax.experiment import Experiment
from ssl_jax.loop.loop import MicroBatch
from ssl_jax.plan.fitting import Change, smallest_change
from ssl_jax.plan.look import View, look, view_of
from ssl_jax.plan.memory import of_compiled
from ssl_jax.plan.roofline import roofline, work_of
from ssl_jax.plan.topology import Target, this_machine
from ssl_jax.types import Failure, Meta, UserError

ANY_STEPS = 1_000_000  # a schedule's length is a constant of the program, and changes nothing asked here
ROOM = 0.9  # share of the memory that a step may take: evaluations and fragments want the rest
GIB = 2**30


def fitted(experiment: Experiment, meta: Meta, say: Callable[[str], None]) -> Experiment:
    """The experiment with the micro-batch that fits here (and remat, where none does without), if it leaves
    that open with loop.micro_batch=AUTO.  The global batch stays.

    The same on all processes: the device with the least memory decides.  Raises UserError where nothing fits.
    """
    if experiment.loop.micro_batch is not MicroBatch.AUTO:
        return experiment
    whole = dataclasses.replace(experiment, loop=dataclasses.replace(experiment.loop, micro_batch=None))
    say("compiling the step, to find the micro-batch that fits")
    target = this_machine()
    capacity = None if target.capacity is None else int(ROOM * parallel.smallest(target.capacity))
    target = dataclasses.replace(target, capacity=capacity)
    view = _seen(whole, meta, target)
    if view.memory.fits:
        return whole
    change = _change(whole, meta, target, view)
    if change is None:
        raise UserError(
            f"no micro-batch fits: a row at a time, with remat, still needs more than the "
            f"{target.capacity / GIB:.2f} GiB of a device; ssl-jax plan says what would do"
        )
    say(f"what fits: {' '.join(change.sets)}")
    return change.experiment


@contextlib.contextmanager
def advised(experiment: Experiment, meta: Meta) -> Iterator[None]:
    """A lack of device memory as one line, with the smallest change that fits."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error) and "OUT_OF_MEMORY" not in str(error):
            raise
        raise Failure(f"out of device memory; {advice(experiment, meta)}") from error


def advice(experiment: Experiment, meta: Meta) -> str:
    """What to change after the devices ran out of memory: words for --set, or where to ask.

    Asks no other process: they may not have run out.
    """
    target = this_machine()
    try:
        view = _seen(experiment, meta, target)
        if view.memory.fits:  # so the compiler's count was too low
            target = dataclasses.replace(target, capacity=view.memory.total - 1)
            memory = dataclasses.replace(view.memory, capacity=target.capacity)
            view = dataclasses.replace(view, memory=memory)
        change = _change(experiment, meta, target, view)
    except jax.errors.JaxRuntimeError:  # there may be no room left to compile in
        change = None
    if change is None:
        return "ssl-jax plan RECIPE says what would fit"
    return f"the same command with {' '.join(f'--set {word}' for word in change.sets)} needs less"


def outlook(setup: Setup) -> str:
    """What a run needs of its devices, and the least time to its end where the chip is known."""
    target = this_machine()
    memory = of_compiled(setup.program, setup.step, target.capacity)
    room = "" if memory.capacity is None else f" of {memory.capacity / GIB:.2f}"
    text = f"memory: {memory.total / GIB:.2f}{room} GiB a device"
    if target.chip is not None:
        view = view_of(setup.program, setup.step, setup.compile_seconds, target)
        bound = roofline(view, work_of(view), target.chip)
        hours = bound.step * setup.num_steps / 3600
        text += f"; {hours:.1f} h at least for all steps (a bound: {bound.limit})"
    return text


def _seen(candidate: Experiment, meta: Meta, target: Target) -> View:
    """A look, judged by the target's capacity: a TPU's compiler accepts what fills its chip to the brim."""
    view = look(candidate, meta, target, ANY_STEPS)
    if not view.memory.accepted:
        return view
    memory = dataclasses.replace(view.memory, capacity=target.capacity, accepted=None)
    return dataclasses.replace(view, memory=memory)


def _change(experiment: Experiment, meta: Meta, target: Target, view: View) -> Change | None:
    """Of the micro-batch or remat alone: a mesh is the user's."""
    seen = lambda candidate: _seen(candidate, meta, target)
    return smallest_change(experiment, view, seen, most_fsdp=view.program.layout.mesh.shape["fsdp"])
