# SPDX-License-Identifier: Apache-2.0
"""A Plan as tables for people and as JSON."""

from typing import Any

from ssl_jax.plan.look import View
from ssl_jax.plan.plan import Plan
from ssl_jax.plan.roofline import chip_hours

GIB = 2**30


def show(plan: Plan, console: Any) -> None:
    memory = plan.view.memory
    console.print(headline(plan))
    for what, line in plan.ready.lines.items():
        console.print(f"{what}: {line}")
    if not plan.ready.everything:
        console.print("before chips are claimed: ssl-jax prepare RECIPE (with the same --set)")
    console.table(
        f"memory of a device, GiB{' (estimated)' * memory.estimated}", _memory_rows(plan), ("", "GiB")
    )
    best = plan.change.view if plan.change else plan.view
    if plan.change is not None:
        words = " ".join(f"--set {word}" for word in plan.change.sets)
        needed, capacity = best.memory.total / GIB, best.memory.capacity / GIB
        console.print(f"it doesn't fit; the smallest change that does: {words}")
        console.print(f"  (tried: {needed:.2f} GiB of {capacity:.2f})")
    elif plan.larger is not None:
        console.print(
            f"it doesn't fit, nor with another micro-batch, remat or fsdp; it does on {plan.larger}"
        )
    elif not plan.fits:
        console.print("it doesn't fit, and no micro-batch, remat, fsdp or topology that was tried does")
    if best.compiled is not None:
        _show_traffic(best, console)
    if plan.bound is not None:
        _show_bound(plan, best, console)
    elif plan.target.chip is None:
        kind = plan.target.devices[0].device_kind
        console.print(f"{kind} isn't in the table of chips: no estimate of time, MFU or cost")


def headline(plan: Plan) -> str:
    layout, experiment = plan.view.program.layout, plan.experiment
    shape = (
        " x ".join(f"{name} {size}" for name, size in layout.mesh.shape.items() if size > 1) or "one device"
    )
    steps = "steps as the store will say" if plan.num_steps is None else f"{plan.num_steps:,} steps"
    rows = f"{layout.batch_size:,} rows x {experiment.objective.plan.length:,}"
    micro = f" in {layout.accumulation} micro-batches" * (layout.accumulation > 1)
    verdict = "fits" if plan.fits else "does NOT fit"
    return f"{verdict} on {plan.target.name} ({shape}): {steps} of {rows}{micro}"


def _memory_rows(plan: Plan) -> list[tuple[str, float | None]]:
    memory = plan.view.memory
    rows = [
        ("parameters", memory.parameters),
        ("moments of the optimizer", memory.moments),
        ("average of the parameters (EMA)", memory.average),
        ("the objective's own state, counters", memory.extra),
        ("batch", memory.batch),
        ("padding by layouts", memory.padding),
        ("activations, gradients, temporaries", memory.temporaries),
        ("program", memory.code),
    ]
    rows = [(name, size) for name, size in rows if size]
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
        console.print(f"{found.guessed} loops don't say how often they run: counted once")


def _show_bound(plan: Plan, view: View, console: Any) -> None:
    bound = plan.bound
    tokens = bound.tokens
    theirs = view.compiled.flops if view.compiled else None
    rows = [
        ("FLOPs a position, our formula", f"{bound.flops / tokens:.3e}"),
        ("  executed, with what is computed again", f"{bound.executed / tokens:.3e}"),
    ]
    if theirs:
        rows.append(
            ("  the compiler's count (the body of a loop once)", f"{theirs * view.num_devices / tokens:.3e}")
        )
    rows += [(f"{name}, ms", f"{seconds * 1e3:.3f}") for name, seconds in bound.seconds.items()]
    rows += [
        (f"a step, ms at least (limit: {bound.limit})", f"{bound.step * 1e3:.3f}"),
        ("positions/s at most", f"{bound.tokens_per_s:.3e}"),
        ("MFU at most", f"{bound.mfu:.1%}"),
    ]
    if plan.num_steps is not None:
        hours = chip_hours(bound, plan.num_steps, plan.target.num_chips)
        rows.append(("hours to the end at least", f"{bound.step * plan.num_steps / 3600:,.2f}"))
        rows.append(("chip-hours at least", f"{hours:,.1f}"))
        if plan.price is not None:
            rows.append((f"cost at least, at {plan.price:g} a chip-hour", f"{hours * plan.price:,.2f}"))
    console.table("an estimate: the bound by the chips' data sheets, which no run reaches", rows)
    for unknown in bound.unknown:
        console.print(f"left out: {unknown}")


def as_json(plan: Plan) -> dict[str, Any]:
    memory, bound = plan.view.memory, plan.bound
    best = plan.change.view if plan.change else plan.view
    tree: dict[str, Any] = {
        "target": plan.target.name,
        "devices": len(plan.target.devices),
        "chips": plan.target.num_chips,
        "mesh": dict(plan.view.program.layout.mesh.shape),
        "fits": plan.fits,
        "memory": {
            name: getattr(memory, name)
            for name in (
                "parameters",
                "moments",
                "average",
                "extra",
                "batch",
                "padding",
                "temporaries",
                "code",
                "total",
                "capacity",
                "estimated",
            )
        },
        "change": list(plan.change.sets) if plan.change else None,
        "larger": plan.larger,
        "ready": {"all": plan.ready.everything, **plan.ready.lines},
        "num_steps": plan.num_steps,
        "collectives": None,
    }
    if best.compiled is not None:
        tree["collectives"] = [
            {"kind": s.kind, "between_slices": s.across, "times": s.count, "bytes": s.bytes}
            for s in best.compiled.sent
        ]
        tree["compile_seconds"] = best.compiled.seconds
        tree["memory_traffic_bytes"] = best.compiled.memory_bytes
        tree["compiler_flops_per_device"] = best.compiled.flops
    if bound is not None:
        tree["estimate"] = {
            "flops_per_position": bound.flops / bound.tokens,
            "executed_flops_per_position": bound.executed / bound.tokens,
            "seconds": bound.seconds,
            "step_seconds": bound.step,
            "limit": bound.limit,
            "positions_per_second": bound.tokens_per_s,
            "mfu": bound.mfu,
            "left_out": list(bound.unknown),
        }
        if plan.num_steps is not None:
            hours = chip_hours(bound, plan.num_steps, plan.target.num_chips)
            tree["estimate"]["chip_hours"] = hours
            tree["estimate"]["cost"] = None if plan.price is None else hours * plan.price
    return tree
