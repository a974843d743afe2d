# SPDX-License-Identifier: Apache-2.0
"""What scale costs: bytes that a device sends in a step, and memory it needs, from 4 to 4,096 chips.

    python benchmarks/scale.py > table.md

GPT-2 medium's step compiled by the TPU compiler for v5p slices, four rows of 1,024 a chip (a chip's work
stays the same), once with the parameters copied (data) and once with them sharded (fsdp).  Needs
ssl_jax[plan] and no TPU; about a minute a line on 2 cores.  docs/pods.md has the table, and why it is so.
"""

import argparse
import dataclasses
import sys

from ssl_jax import config
from ssl_jax.parallel import MeshConfig
from ssl_jax.plan import topology
from ssl_jax.plan.look import View, look
from ssl_jax.plan.ready import ready
from ssl_jax.types import Meta

SHAPES = ("2x2x1", "2x2x4", "4x4x4", "4x8x8", "8x8x16", "16x16x16")
ROWS = 4  # of a chip
MOST_FSDP = 64
KINDS = ("all-gather", "reduce-scatter", "all-reduce", "collective-permute")


def meshes(chips: int) -> dict[str, MeshConfig]:
    return {"data": MeshConfig(), "fsdp": MeshConfig(fsdp=min(chips, MOST_FSDP))}


def line(shape: str, view: View) -> str:
    memory, mesh = view.memory, view.program.layout.mesh
    sent = {kind: sum(s.bytes for s in view.compiled.sent if s.kind == kind) / 1e6 for kind in KINDS}
    state = memory.parameters + memory.moments
    axes = " x ".join(f"{axis} {size:,}" for axis, size in mesh.shape.items() if size > 1)
    cells = [f"{mesh.size:,}", f"`v5p:{shape}`", axes, f"{state / 2**30:.2f}", f"{memory.total / 2**30:.2f}"]
    cells += [f"{sent[kind]:,.0f}" for kind in KINDS]
    cells += [f"{sum(s.bytes for s in view.compiled.sent) / 1e6:,.0f}", f"{view.compiled.seconds:.0f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--shapes", nargs="+", default=SHAPES, help="of v5p slices")
    arguments.add_argument("--meshes", nargs="+", default=["data", "fsdp"], choices=["data", "fsdp"])
    given = arguments.parse_args()
    experiment, _, _ = config.load_recipe("gpt2_medium")
    meta = Meta(tokenizer=ready(experiment).tokenizer)
    head = ["chips", "`--topology`", "mesh", "state, GiB", "all, GiB", *(f"{kind}, MB" for kind in KINDS)]
    head += ["sent, MB", "compiled in, s"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}", flush=True)
    for name in given.meshes:
        for shape in given.shapes:
            target = topology.target_of(f"v5p:{shape}")
            print(f"compile {name} for {target.name}", file=sys.stderr, flush=True)
            chips = len(target.devices)
            loop = dataclasses.replace(experiment.loop, batch_size=ROWS * chips, micro_batch=None)
            made = dataclasses.replace(experiment, mesh=meshes(chips)[name], loop=loop)
            print(line(shape, look(made, meta, target, loop.duration.n)), flush=True)


if __name__ == "__main__":
    main()
