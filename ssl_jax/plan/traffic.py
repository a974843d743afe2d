# SPDX-License-Identifier: Apache-2.0
"""What a compiled step moves: bytes between devices by kind of collective, and bytes to and from memory.

A collective's bytes are what one device sends in a ring of the n devices of its group (Chan et al. 2007,
table 1): of an operand of S bytes all-reduce sends 2 S (n-1)/n, reduce-scatter and all-to-all S (n-1)/n,
all-gather S (n-1), a permutation S.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_jax.plan.hlo import Computation, Instruction, Module, sizes_of

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "ragged-all-to-all",
    "collective-permute",
    "collective-broadcast",
    "send",
)
# How XLA:TPU writes a collective between slices: its first group, as members or as a range, and its kind.
_TRANSFER = re.compile(r'_xla_megascale_target="?\{+([\d,:]+)\}.*?_xla_megascale_transfer_type="(\w+)"')
# What moves no data of its own, or is counted where its computation runs.
_FREE = {
    "parameter",
    "get-tuple-element",
    "tuple",
    "bitcast",
    "constant",
    "while",
    "conditional",
    "call",
    "after-all",
    "partition-id",
    "replica-id",
    "iota",
    "opt-barrier",
    "recv",
    "async-start",
}


@dataclass(frozen=True)
class Sent:
    """Collectives of one kind.  count, bytes: a device and a step; across: between slices or machines."""

    kind: str
    across: bool
    count: int
    bytes: float


def collectives(module: Module, slice_of: Sequence[int]) -> list[Sent]:
    """slice_of: the slice of each device, in the order of the mesh."""
    counts: dict[tuple[str, bool], list[float]] = defaultdict(lambda: [0.0, 0.0])
    chained: set[tuple[str, str]] = set()
    for computation in module.computations.values():
        times = module.times.get(computation.name, 0.0)
        for instruction in computation.instructions.values() if times else ():
            kind = instruction.opcode.removesuffix("-start")
            if kind not in KINDS or _is_again(instruction, chained):
                continue
            if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
                kind = "reduce-scatter"  # how XLA:TPU writes one
            size = sum(i.bytes for i in computation.operands(instruction))
            if transfer := _TRANSFER.search(instruction.rest):
                kind, across = transfer[2].lower().replace("_", "-"), True
                members = _members(transfer[1])
            else:
                groups = groups_of(instruction, len(slice_of))
                apart = [Counter(slice_of[d] for d in group) for group in groups]
                across = any(len(places) > 1 for places in apart)
                members = max(map(len, groups), default=1)
                if across:  # a ring enters and leaves a machine once, by the links of all its members there
                    size /= min(max(places.values()) for places in apart if len(places) > 1)
            entry = counts[kind, across]
            entry[0] += times
            entry[1] += times * _ring(kind, size, members)
    return [
        Sent(kind, across, round(n), size) for (kind, across), (n, size) in sorted(counts.items()) if size
    ]


def _members(written: str) -> int:
    """Of a group such as 1,2 or 1:4."""
    first, colon, last = written.partition(":")
    return int(last) - int(first) + 1 if colon else len(written.split(","))


def _is_again(instruction: Instruction, chained: set[tuple[str, str]]) -> bool:
    """Whether this is a later part of a collective that XLA:TPU has spread over several fusions."""
    chain = re.search(r'chain_id="(\d+)"', instruction.rest)
    channel = re.search(r"channel_id=(\d+)", instruction.rest)
    if not (chain and channel):
        return False
    key = (chain[1], channel[1])
    again = key in chained
    chained.add(key)
    return again


def _ring(kind: str, size: float, n: int) -> float:
    match kind:
        case "all-reduce":
            return 2 * size * (n - 1) / n
        case "all-gather":
            return size * (n - 1)
        case "reduce-scatter" | "all-to-all" | "ragged-all-to-all":
            return size * (n - 1) / n
        case _:
            return size


def groups_of(instruction: Instruction, num_devices: int) -> list[list[int]]:
    """The devices that talk to each other, from any of the three ways in which XLA writes them."""
    rest = instruction.rest
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", rest):
        return [[int(a), int(b)] for a, b in re.findall(r"(\d+),(\d+)", pairs[1]) if a != b]
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](\S*) \{([^}]*)\}", rest):
        axes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        wanted = re.findall(r"'(\w+)'", mesh[3])
        ids = np.arange(num_devices).reshape(tuple(axes.values()))
        order = [i for i, name in enumerate(axes) if name not in wanted]
        order += [list(axes).index(name) for name in wanted]
        width = int(np.prod([axes[name] for name in wanted]))
        return ids.transpose(order).reshape(-1, width).tolist()
    if iota := re.search(r"replica_groups=\[(\d+),(\d+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", rest):
        shape = [int(n) for n in iota[3].split(",")]
        ids = np.arange(np.prod(shape)).reshape(shape)
        if iota[4]:
            ids = ids.transpose([int(n) for n in iota[4].split(",")])
        return ids.reshape(int(iota[1]), int(iota[2])).tolist()
    if lists := re.search(r"replica_groups=\{(\{.*?\})\}", rest):
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", lists[1])]
    return [list(range(num_devices))]


def memory_bytes(module: Module) -> float:
    """Bytes read from and written to a device's memory in a step: operands and results of what runs.

    Caches are left out, and so is what lies on the chip.  A fusion that reads a slice of an operand, or
    writes one into its result, counts the slice.
    """
    fused = {
        name
        for computation in module.computations.values()
        for i in computation.instructions.values()
        if i.opcode == "fusion"
        for name in re.findall(r"calls=%?([\w.-]+)", i.rest)
    }
    total = 0.0
    for computation in module.computations.values():
        times = module.times.get(computation.name, 0.0)
        if times and computation.name not in fused:
            total += times * sum(_moved(i, computation, module) for i in computation.instructions.values())
    return total


def _moved(instruction: Instruction, computation: Computation, module: Module) -> float:
    operands = computation.operands(instruction)
    match instruction.opcode:
        case opcode if opcode in _FREE or opcode.endswith("-done"):
            return 0.0
        case "dynamic-slice" | "slice" | "gather":
            return 2 * instruction.memory_bytes
        case "dynamic-update-slice":
            return 2 * operands[1].memory_bytes if len(operands) > 1 else 0.0
        case "fusion":
            callee = re.search(r"calls=%?([\w.-]+)", instruction.rest)
            return _moved_by_fusion(instruction, operands, module.computations[callee[1]])
        case "slice-start" | "dynamic-slice-start":  # its result names the operand, and then the slice
            return instruction.bytes - sum(i.bytes for i in operands)
        case opcode if opcode.endswith("-start"):  # its result names both ends
            return instruction.memory_bytes
        case _:
            return instruction.memory_bytes + sum(i.memory_bytes for i in operands)


def _moved_by_fusion(fusion: Instruction, operands: list[Instruction], body: Computation) -> float:
    users = defaultdict(list)
    for i in body.instructions.values():
        for place, name in enumerate(i.operands):
            users[name].append((i, place))

    def read(name: str) -> float | None:
        """Bytes read of a parameter of the fusion, None for all."""
        size = 0.0
        for user, place in users[name]:
            if user.opcode == "bitcast":
                part = read(user.name)
            elif user.opcode in ("dynamic-slice", "slice", "gather") and place == 0:
                part = user.bytes
            else:
                part = 0.0 if user.opcode == "dynamic-update-slice" and place == 0 else None
            if part is None:
                return None
            size += part
        return size

    total = 0.0
    for i in body.instructions.values():
        number = int(i.rest) if i.opcode == "parameter" else None
        if number is not None and number < len(operands) and operands[number].memory_bytes:
            part = read(i.name)
            total += operands[number].memory_bytes if part is None else part
    root = body.root
    results = body.operands(root) if root.opcode == "tuple" else [root]
    for result, written in zip(results, sizes_of(fusion.type, on_chip=False)):
        update = _update(result, body)
        total += written if update is None else min(written, update)
    return total


def _update(result: Instruction, body: Computation) -> float | None:
    """Bytes that a dynamic-update-slice writes; None where the result is something else."""
    while result.opcode == "bitcast" and body.operands(result):
        result = body.operands(result)[0]
    if result.opcode != "dynamic-update-slice":
        return None
    return body.operands(result)[1].bytes
