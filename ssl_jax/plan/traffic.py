# SPDX-License-Identifier: Apache-2.0
"""What a compiled step sends: bytes between devices by kind of collective.

A collective's bytes are what one device sends in a ring of the n devices of its group (Chan et al. 2007,
table 1): of an operand of S bytes all-reduce sends 2 S (n-1)/n, reduce-scatter and all-to-all S (n-1)/n,
all-gather S (n-1), a permutation S.
"""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ssl_jax.plan.hlo import Computation, Instruction, Module

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
    times_of = module.times(_operand_bytes)
    for computation in module.computations.values():
        times = times_of[computation.name]
        for instruction in computation.instructions.values() if times else ():
            kind = _kind(instruction)
            if kind not in KINDS or _is_again(instruction, chained):
                continue
            if kind == "all-reduce" and computation.name.startswith("all-reduce-scatter"):
                kind = "reduce-scatter"  # how XLA:TPU writes one
            size = _operand_bytes(instruction, computation)
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


def _kind(instruction: Instruction) -> str:
    return instruction.opcode.removesuffix("-start")


def _operand_bytes(instruction: Instruction, computation: Computation) -> float:
    """Of a collective."""
    return sum(i.bytes for i in computation.operands(instruction)) if _kind(instruction) in KINDS else 0.0


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


def unread(module: Module) -> int:
    """Collectives whose groups are written as groups_of doesn't know: counted as of all devices."""
    lines = (i for c in module.computations.values() for i in c.instructions.values())
    return sum(bool(re.search(r"replica_groups=(?!\{\})", i.rest)) and not _groups(i.rest) for i in lines)


def groups_of(instruction: Instruction, num_devices: int) -> list[list[int]]:
    """The devices that talk to each other; all of them where the text does not say."""
    return _groups(instruction.rest) or [list(range(num_devices))]


def _groups(rest: str) -> list[list[int]] | None:
    """From any of the ways in which XLA writes them: pairs, axes of a mesh, a transposed range, lists."""
    if pairs := re.search(r"source_target_pairs=\{(.*?)\}\}", rest):
        return [[int(a), int(b)] for a, b in re.findall(r"(\d+),(\d+)", pairs[1]) if a != b]
    if mesh := re.search(r"replica_groups=mesh\[([^\]]*)\](?:, device_ids=\((\S+)\))? \{([^}]*)\}", rest):
        return _along_axes(*mesh.groups())
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]<=(\S*?),? ", rest + " "):
        return _ids(found[3]).reshape(int(found[1]), int(found[2])).tolist()
    if lists := re.search(r"replica_groups=\{(\{.*?\})\}", rest):
        return [[int(n) for n in group.split(",")] for group in re.findall(r"\{([\d,]+)\}", lists[1])]
    return None


def _ids(written: str) -> np.ndarray:
    """Devices in their order: 0,2,1,3 or the range [2,2], its axes in the order T(1,0) if that is given."""
    found = re.fullmatch(r"\[([\d,]+)\](?:T\(([\d,]+)\))?", written)
    if found is None:
        return np.array([int(n) for n in re.findall(r"\d+", written)])
    shape = [int(n) for n in found[1].split(",")]
    ids = np.arange(np.prod(shape)).reshape(shape)
    return ids.transpose([int(n) for n in found[2].split(",")]) if found[2] else ids


def _along_axes(mesh: str, ids: str | None, along: str) -> list[list[int]]:
    """Of a mesh such as 'a'=4,'b'=2 along 'b','a':(2)2: an axis, or its part of size 2 with 2 before it."""
    sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh)}
    parts = [  # name, number before, number before and within
        (name, int(before or 1), int(before or 1) * int(size or sizes[name]))
        for name, before, size in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", along)
    ]
    cut = []  # the dimensions of the axes, cut where a part begins or ends: name, first and last
    for name, size in sizes.items():
        places = sorted({1, size}.union(*({a, b} for of, a, b in parts if of == name)))
        cut += [(name, a, b) for a, b in itertools.pairwise(places)]
    within = [cut.index(piece) for part in parts for piece in cut if _inside(piece, part)]
    order = [i for i in range(len(cut)) if i not in within] + within
    of_all = np.arange(math.prod(sizes.values())) if ids is None else _ids(ids)
    width = math.prod(b // a for _, a, b in (cut[i] for i in within))
    return of_all.reshape([b // a for _, a, b in cut]).transpose(order).reshape(-1, width).tolist()


def _inside(piece: tuple[str, int, int], part: tuple[str, int, int]) -> bool:
    return piece[0] == part[0] and part[1] <= piece[1] and piece[2] <= part[2]
