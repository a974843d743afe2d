# SPDX-License-Identifier: Apache-2.0
"""What a compiled step moves to and from a device's memory.

The least that this program moves: each instruction that runs reads what it needs of each operand once and
writes its results once (of several updates of one buffer in a fusion, the last); what lies on the chip is
left out, and so is padding.  A program with other fusions may move less.
"""

import re
from collections import defaultdict

from ssl_jax.plan.hlo import Computation, Instruction, Module, sizes_of

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
# A buffer made or seen as another one, in XLA:TPU's words.
_FREE_CALLS = re.compile(r'custom_call_target="(AllocateBuffer|ConcatBitcast|AssumeGatherIndicesInBound)"')
_SLICES = {"slice": 0, "dynamic-slice": 0, "gather": 0}  # of which operand
_UPDATES = {"dynamic-update-slice": 1, "scatter": 2}  # into operand 0, by which
_SLICED = _SLICES | _UPDATES
_PARTS = {"broadcast", "pad", "concatenate"}  # no element is needed more often than the result asks
_WHOLE = {"dot", "convolution", "sort", "reduce-window", "custom-call"}  # any element needs all of an operand


def memory_bytes(module: Module) -> float:
    """Bytes read from and written to a device's memory in a step."""
    fused = {
        name
        for computation in module.computations.values()
        for i in computation.instructions.values()
        if i.opcode == "fusion"
        for name in re.findall(r"calls=%?([\w.-]+)", i.rest)
    }

    def cost(instruction: Instruction, computation: Computation) -> float:
        return 0.0 if computation.name in fused else moved(instruction, computation, module)

    times = module.times(cost)
    return sum(
        times[computation.name] * sum(cost(i, computation) for i in computation.instructions.values())
        for computation in module.computations.values()
        if times[computation.name]
    )


def moved(instruction: Instruction, computation: Computation, module: Module) -> float:
    """Bytes that one instruction reads and writes."""
    operands = computation.operands(instruction)
    match instruction.opcode:
        case opcode if opcode in _FREE or opcode.endswith("-done"):
            return 0.0
        case "custom-call" if _FREE_CALLS.search(instruction.rest):
            return 0.0
        case opcode if opcode in _SLICES:
            return (instruction.bytes if operands[0].memory_bytes else 0) + instruction.memory_bytes
        case opcode if opcode in _UPDATES:
            update = operands[_UPDATES[opcode]]
            return (update.bytes if instruction.memory_bytes else 0) + update.memory_bytes
        case "fusion":
            return _moved_by_fusion(instruction, operands, _called(instruction, module), module)
        case "slice-start" | "dynamic-slice-start":  # its result names the operands, and then the slice
            read, written = (sizes_of(instruction.type, on_chip)[len(operands)] for on_chip in (True, False))
            return (read if operands[0].memory_bytes else 0) + written
        case opcode if opcode.endswith("-start"):  # its result names both ends
            return instruction.memory_bytes
        case _:
            return instruction.memory_bytes + sum(i.memory_bytes for i in operands)


def _called(fusion: Instruction, module: Module) -> Computation:
    return module.computations[re.search(r"calls=%?([\w.-]+)", fusion.rest)[1]]


def _moved_by_fusion(
    fusion: Instruction, operands: list[Instruction], body: Computation, module: Module
) -> float:
    root = body.root
    results = body.operands(root) if root.opcode == "tuple" else [root]
    shares, total = {}, 0.0
    for result, size in zip(results, sizes_of(fusion.type, on_chip=False)):
        update = _in_place(result, body)
        if update is None:
            shares[result.name], written = 1.0, size
        else:  # what it leaves as it is isn't read for it
            written = update.bytes
            shares[update.name] = 1.0
        total += min(written, size)
    needed = _needed(body, shares, module)
    return total + sum(needed.get(number, 0.0) * i.memory_bytes for number, i in enumerate(operands))


def _in_place(result: Instruction, body: Computation) -> Instruction | None:
    """What a fusion writes into an operand of its own; None where it writes a result of its own."""
    result = _origin(result, body)
    if result.opcode not in _UPDATES:
        return None
    into, *_, update = body.operands(result)[: _UPDATES[result.opcode] + 1]
    while (into := _origin(into, body)).opcode in _UPDATES:
        into = body.operands(into)[0]
    return update if into.opcode == "parameter" else None


def _origin(instruction: Instruction, body: Computation) -> Instruction:
    """Behind other views of the same buffer."""
    while instruction.opcode == "bitcast" or "output_to_operand_aliasing={{}: (0, {})}" in instruction.rest:
        instruction = body.operands(instruction)[0]
    return instruction


def _needed(body: Computation, shares: dict[str, float], module: Module) -> dict[int, float]:
    """Number of a parameter -> the share of it that these shares of instructions need, 0 to 1."""
    wanted = defaultdict(float, shares)
    needed = {}
    for i in reversed(body.instructions.values()):  # users come after what they use
        share = min(wanted[i.name], 1.0)
        if i.opcode == "parameter":
            needed[int(i.rest)] = share
        if not share:
            continue
        operands = body.operands(i)
        if i.opcode == "fusion":
            inner = _called(i, module)
            of_each = _needed(inner, {inner.root.name: share}, module)
        for place, operand in enumerate(operands):
            ratio = share * i.bytes / max(operand.bytes, 1)
            if i.opcode == "fusion":
                part = of_each.get(place, 0.0)
            elif i.opcode in _WHOLE:
                part = 1.0
            elif i.opcode in _PARTS or place == _SLICED.get(i.opcode):
                part = ratio
            else:
                part = share
            wanted[operand.name] += part
    return needed
