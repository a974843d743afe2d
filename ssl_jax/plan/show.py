# SPDX-License-Identifier: Apache-2.0
"""A Plan as tables for people and as JSON."""

import dataclasses
from typing import Any

from ssl_jax.plan.look import View
from ssl_jax.plan.plan import Plan
from ssl_jax.plan.roofline import Roofline

GIB = 2**30
SMALLEST = 2**21  # bytes worth a line


def show(plan: Plan, prepare: str, console: Any) -> None:
    """prepare: the command that builds what isn't there."""
    memory = plan.view.memory
    console.print(headline(plan))
    for what, line in plan.ready.lines.items():
        console.print(f"{what}: {line}")
    if not plan.ready.everything:
        console.print(f"before chips are claimed: {prepare}")
    console.table(f"memory of a device, GiB{' (estimated)' * memory.estimated}", _memory_rows(plan))
    best = plan.best
    if plan.change is not None:
        words = " ".join(f"--set {word}" for word in plan.change.sets)
        needed, capacity = best.memory.total / GIB, best.memory.capacity / GIB
        console.print(f"it doesn't fit; the smallest change that does: {words}")
        console.print(f"  (tried: {needed:.2f} GiB of {capacity:.2f})")
    elif plan.larger is not None:
        console.print(f"it doesn't fit; what does: {plan.larger}")
        _show_tried(plan.tried[:-1], console)
    elif plan.fits is False:
        what = "nothing that was tried does" if plan.tried else "nothing else could be tried"
        console.print(f"it doesn't fit, and {what}")
        _show_tried(plan.tried, console)
    if best.compiled is not None:
        _show_traffic(best, console)
    _show_work(plan, console)
    if plan.bound is not None:
        _show_bound(plan, plan.bound, console)
    elif plan.target.chip is None:
        kind = plan.target.devices[0].device_kind
        console.print(f"{kind} isn't in the table of chips: no estimate of time, MFU or cost")


def _show_tried(tried: tuple[str, ...], console: Any) -> None:
    for words in tried:
        console.print(f"  doesn't fit either: {words}")


def headline(plan: Plan) -> str:
    layout, experiment = plan.view.program.layout, plan.experiment
    steps = "steps as the store will say" if plan.num_steps is None else f"{plan.num_steps:,} steps"
    rows = f"{layout.batch_size:,} rows x {experiment.objective.plan.length:,}"
    micro = f" in {layout.accumulation} micro-batches" * (layout.accumulation > 1)
    verdict = {True: "fits", False: "does NOT fit", None: "not known whether it fits"}[plan.fits]
    return f"{verdict} on {plan.target.name} ({layout.axes}): {steps} of {rows}{micro}"


def _memory_rows(plan: Plan) -> list[tuple[str, float | None]]:
    memory, of_it = plan.view.memory, plan.temporaries
    rows = [
        ("parameters", memory.parameters),
        ("moments of the optimizer", memory.moments),
        ("average of the parameters (EMA)", memory.average),
        ("the objective's own state, counters", memory.extra),
        ("batch", memory.batch),
        ("padding by layouts", memory.padding),
        (f"temporaries{', by the compiler' * (not memory.estimated)}", memory.temporaries),
        ("  of them gradients", of_it["gradients"]),
        ("  activations, estimated", of_it["activations"]),
        ("  the rest", of_it["rest"]),
        ("program", memory.code),
    ]
    rows = [(name, size) for name, size in rows if size >= SMALLEST]
    rows += [("needed", memory.total), ("capacity", memory.capacity)]
    return [(name, None if size is None else size / GIB) for name, size in rows]


def _show_traffic(view: View, console: Any) -> None:
    found = view.compiled
    rows = [
        (sent.kind + " between slices" * sent.across, sent.count, sent.bytes / 1e6) for sent in found.sent
    ]
    title = "collectives of a step, sent by a device"
    console.table(title, rows, ("", "times", "MB")) if rows else console.print(f"{title}: none")
    if found.guessed:
        console.print(
            f"{found.guessed} loops or collectives don't say how often they run or among which devices: "
            "counted once, or among all"
        )


def _show_work(plan: Plan, console: Any) -> None:
    work, compiled = plan.work, plan.best.compiled
    rows = [
        ("forward and backward, our formula", work.flops / work.positions),
        ("executed, with what is computed again", work.executed / work.positions),
    ]
    if work.least < work.executed:
        rows.append(("executed at least, were all layers as the cheapest", work.least / work.positions))
    if compiled is not None and compiled.flops:
        count = compiled.flops * plan.best.program.layout.mesh.size
        rows.append(("the compiler's count: loop bodies once, elementwise work too", count / work.positions))
    console.table("FLOPs a token, padding included", [(name, f"{value:.4g}") for name, value in rows])


def _show_bound(plan: Plan, bound: Roofline, console: Any) -> None:
    rows = [(f"{name}, ms a step", 1e3 * seconds) for name, seconds in bound.seconds.items()]
    rows += [
        (f"a step, ms at least (limit: {bound.limit})", 1e3 * bound.step),
        ("tokens/s at most, padding included", bound.positions_per_s),
        ("MFU at most, %", 100 * bound.mfu),
    ]
    if plan.num_steps is not None:
        hours = bound.chip_hours(plan.num_steps, plan.target.num_chips)
        rows.append(("hours to the end at least", bound.step * plan.num_steps / 3600))
        rows.append(("chip-hours at least", hours))
        if plan.price is not None:
            rows.append((f"cost at least, at {plan.price:g} a chip-hour", hours * plan.price))
    title = "an estimate: the bound by data sheets, which no run reaches"
    console.table(title, [(name, f"{value:,.2f}") for name, value in rows])
    for unknown in bound.unknown:
        console.print(f"left out: {unknown}")


def as_json(plan: Plan) -> dict[str, Any]:
    """Bytes, seconds and FLOPs."""
    memory, work, found = plan.view.memory, plan.work, plan.best.compiled
    sizes = {field.name: getattr(memory, field.name) for field in dataclasses.fields(memory)}
    return {
        "target": plan.target.name,
        "devices": len(plan.target.devices),
        "chips": plan.target.num_chips,
        "mesh": dict(plan.view.program.layout.mesh.shape),
        "fits": plan.fits,
        "memory": {**sizes, "total": memory.total, "of_temporaries": plan.temporaries},
        "change": list(plan.change.sets) if plan.change else None,
        "larger": plan.larger,
        "tried": list(plan.tried),
        "ready": {"all": plan.ready.everything, **plan.ready.lines},
        "num_steps": plan.num_steps,
        "flops_per_token": work.flops / work.positions,
        "executed_flops_per_token": work.executed / work.positions,
        "least_flops_per_token": work.least / work.positions,
        "compiled": dataclasses.asdict(found) if found else None,
        "estimate": _estimate(plan, plan.bound) if plan.bound else None,
    }


def _estimate(plan: Plan, bound: Roofline) -> dict[str, Any]:
    tree = {
        "seconds": bound.seconds,
        "step_seconds": bound.step,
        "limit": bound.limit,
        "tokens_per_second": bound.positions_per_s,
        "mfu": bound.mfu,
        "left_out": list(bound.unknown),
    }
    if plan.num_steps is not None:
        tree["chip_hours"] = bound.chip_hours(plan.num_steps, plan.target.num_chips)
        tree["cost"] = None if plan.price is None else tree["chip_hours"] * plan.price
    return tree
