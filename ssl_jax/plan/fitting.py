# SPDX-License-Identifier: Apache-2.0
"""The smallest change that fits, found by trying: fewer rows at a time, remat, parameters over more devices;
and where none does a larger topology.

None of them changes what is learned: the global batch stays, accumulation is exact.
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ssl_jax import config, nn
from ssl_jax.experiment import Experiment
from ssl_jax.plan import topology
from ssl_jax.plan.look import View
from ssl_jax.plan.topology import Target
from ssl_jax.types import UserError

Look = Callable[[Experiment], View]


@dataclass(frozen=True)
class Change:
    """sets: as --set takes them; experiment, view: with them."""

    sets: tuple[str, ...]
    experiment: Experiment
    view: View


def smallest_change(experiment: Experiment, view: View, look: Look, most_fsdp: int) -> Change | None:
    """The first that fits, of: a smaller micro-batch, with remat, with fsdp doubled up to most_fsdp.

    view: of the experiment as it is, which doesn't fit.  look: compiles a candidate for the same devices.
    None where nothing tried fits.
    """
    for sets in _shardings(experiment, view, most_fsdp):
        sharded = config.apply_sets(experiment, sets)
        try:
            first = look(sharded) if sets else view
        except UserError:  # a dimension that doesn't divide by so many
            continue
        if first.memory.fits:
            return Change(sets, sharded, first)
        if first.memory.capacity is not None and _state(first) > first.memory.capacity:
            continue  # no micro-batch is small enough
        for remat in _stronger(experiment):
            more = sets if remat is None else (*sets, f"model.remat={remat.name}")
            found = _micro_batch(config.apply_sets(experiment, more), first if remat is None else None, look)
            if found is not None:
                return Change((*more, *found[0]), *found[1:])
    return None


def _state(view: View) -> int:
    """What a device holds with no row at all: the state, and a gradient of each parameter."""
    return view.memory.fixed + view.memory.parameters


def _shardings(experiment: Experiment, view: View, most: int) -> Iterator[tuple[str, ...]]:
    mesh = view.program.layout.mesh.shape
    yield ()
    fsdp = mesh["fsdp"]
    while 2 * fsdp <= most and (mesh["data"] * mesh["fsdp"]) % (2 * fsdp) == 0:
        fsdp *= 2
        data = mesh["data"] * mesh["fsdp"] // fsdp
        free = () if experiment.mesh.data == -1 else (f"mesh.data={data}",)
        yield (*free, f"mesh.fsdp={fsdp}")


def _stronger(experiment: Experiment) -> list[nn.Remat | None]:
    """As it is, and what keeps less for the backward pass."""
    order = list(nn.Remat)
    return [None, *order[order.index(experiment.model.remat) + 1 :]]


def _micro_batch(
    experiment: Experiment, view: View | None, look: Look
) -> tuple[tuple[str, ...], Experiment, View] | None:
    """The largest micro-batch that fits, by stepping down the divisors of a shard's rows.

    Temporaries grow about linearly with the rows, so each refusal says where to look next.
    """
    view = view or look(experiment)
    sets: tuple[str, ...] = ()
    while not view.memory.fits:
        layout = view.program.layout
        shards = layout.rules.parts("batch", layout.mesh)
        rows = layout.batch_size // layout.accumulation // shards
        smaller = [n for n in range(1, rows) if (layout.batch_size // shards) % n == 0]
        if not smaller:
            return None
        room = view.memory.capacity - view.memory.fixed
        wanted = 1.05 * rows * room / max(view.memory.temporaries, 1)  # not quite linear
        size = max((n for n in smaller if n <= wanted), default=smaller[0])
        sets = (f"loop.micro_batch={size}",)
        experiment = dataclasses.replace(
            experiment, loop=dataclasses.replace(experiment.loop, micro_batch=size)
        )
        view = look(experiment)
    return sets, experiment, view


def larger_topology(
    experiment: Experiment, target: Target, look: Callable[[Experiment, Target], View], slices: int
) -> str | None:
    """The next topology, of as many slices, on which the recipe fits, in words for the command.

    None where there is none for which mesh and batch are legal.
    """
    name, _, shape = target.name.rpartition(" ")[2].partition(":")
    if target.chip is None or not shape:
        return None
    sizes = [int(n) for n in shape.split("x")]
    legal = True
    while legal:
        legal = False
        sizes[sizes.index(min(sizes))] *= 2
        words = f"{name}:{'x'.join(map(str, sorted(sizes)))}"
        try:
            where = topology.target_of(words, slices)
        except UserError:
            return None
        for sets in _on_more(experiment, len(where.devices), slices):
            with contextlib.suppress(UserError):  # what doesn't go with so many devices
                fits = look(config.apply_sets(experiment, sets), where).memory.fits
                legal = True
                if fits:
                    several = f" --slices {slices}" * (slices > 1)
                    return f"--topology {words}{several}{''.join(f' --set {word}' for word in sets)}"
    return None


def _on_more(experiment: Experiment, num_devices: int, slices: int) -> Iterator[tuple[str, ...]]:
    """Words for --set: none, more shards of the rows, every parameter sharded in each slice; and fewer rows
    at a time where the recipe's number doesn't divide any more."""
    mesh, loop = experiment.mesh, experiment.loop
    rows = loop.batch_size * abs(mesh.tensor * mesh.context) // num_devices
    fewer: tuple[str, ...] = ()
    if isinstance(loop.micro_batch, int) and rows % loop.micro_batch:
        fewer = (f"loop.micro_batch={math.gcd(rows, loop.micro_batch)}",)
    yield fewer
    if mesh.data != -1:
        yield ("mesh.data=-1", *fewer)
    yield (f"mesh.data={slices}", "mesh.fsdp=-1", *fewer)
