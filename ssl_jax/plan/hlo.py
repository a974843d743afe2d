# SPDX-License-Identifier: Apache-2.0
"""An optimised HLO module, read from its text: instructions, sizes, and how often each computation runs."""

import functools
import math
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

_COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.-]+) .*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.-]+) = ")
_ARRAY = re.compile(r"(pred|bf16|[a-z]\d+\w*)\[([\d,]*)\](\{[^}]*\})?")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|branch_computations|called_computations|true_computation"
    r"|false_computation)=(?:\{([^}]*)\}|(%?[\w.-]+))"
)
_BITS = {"pred": 8, "s4": 4, "u4": 4, "f8e4m3fn": 8, "f8e5m2": 8}


@dataclass(frozen=True)
class Instruction:
    """One line.  type, operands and rest (attributes) are text."""

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    rest: str
    root: bool

    @functools.cached_property
    def bytes(self) -> int:
        return sum(sizes_of(self.type))

    @functools.cached_property
    def memory_bytes(self) -> int:
        """Without what lies in on-chip memory, S(1) and up in a TPU's layouts."""
        return sum(sizes_of(self.type, on_chip=False))


@dataclass
class Computation:
    name: str
    instructions: dict[str, Instruction] = field(default_factory=dict)

    @property
    def root(self) -> Instruction:
        return next(i for i in self.instructions.values() if i.root)

    def operands(self, instruction: Instruction) -> list[Instruction]:
        return [self.instructions[name] for name in instruction.operands if name in self.instructions]


@dataclass(frozen=True)
class Module:
    """computations: by name.  guessed: while loops whose number of iterations the text does not say, counted
    once."""

    computations: dict[str, Computation]
    entry: str
    guessed: int

    def times(self, cost: Callable[[Instruction, Computation], float]) -> dict[str, float]:
        """How often each computation runs in one execution.  Which branch a conditional takes the text does
        not say: here the one of least cost, so that what is summed over these times is a least sum."""

        @functools.cache
        def whole(name: str) -> float:
            here = self.computations[name]
            return sum(
                cost(i, here) + _turns(i, self.computations) * sum(map(whole, chosen(i)))
                for i in here.instructions.values()
            )

        def chosen(instruction: Instruction) -> list[str]:
            called = [
                name
                for several, one in _CALLED.findall(instruction.rest)
                for name in re.findall(r"[\w.-]+", several or one)
                if name in self.computations
            ]
            return [min(called, key=whole)] if called and instruction.opcode == "conditional" else called

        times: dict[str, float] = defaultdict(float)
        times[self.entry] = 1.0
        for name in reversed(self.computations):  # callees are printed before their callers
            for instruction in self.computations[name].instructions.values() if times[name] else ():
                for callee in chosen(instruction):
                    times[callee] += times[name] * _turns(instruction, self.computations)
        return times


def sizes_of(type: str, on_chip: bool = True) -> list[int]:
    """Bytes of each array of a type, without padding; 0 for what is on the chip unless on_chip."""
    sizes = []
    for dtype, dims, layout in _ARRAY.findall(type):
        bits = _BITS.get(dtype) or int(re.sub(r"\D", "", dtype))
        count = math.prod(int(n) for n in dims.split(",") if n)
        sizes.append(count * bits // 8 if on_chip or "S(" not in layout else 0)
    return sizes


def read(text: str) -> Module:
    """Raises ValueError where the text has no entry computation."""
    computations: dict[str, Computation] = {}
    entry = current = None
    for line in text.splitlines():
        if current is not None and _INSTRUCTION.match(line):
            instruction = _instruction(line)
            if instruction is not None:
                current.instructions[instruction.name] = instruction
        elif head := _COMPUTATION.match(line):
            current = computations[head[2]] = Computation(head[2])
            entry = head[2] if head[1] else entry
    if entry is None:
        raise ValueError("no HLO module: it has no ENTRY computation")
    loops = (i for c in computations.values() for i in c.instructions.values() if i.opcode == "while")
    return Module(computations, entry, sum(trip_count(loop, computations) is None for loop in loops))


def _turns(instruction: Instruction, computations: dict[str, Computation]) -> float:
    if instruction.opcode != "while":
        return 1.0
    known = trip_count(instruction, computations)
    return 1.0 if known is None else known


def _instruction(line: str) -> Instruction | None:
    head = _INSTRUCTION.match(line)
    assert head is not None
    body = line[head.end() :]
    end = _closing(body) + 1 if body.startswith("(") else body.find(" ")
    call = re.match(r"\s*([\w-]+)\(", body[end:])
    if call is None:
        return None
    arguments = body[end + call.end() - 1 :]
    close = _closing(arguments)
    names = re.findall(r"%([\w.-]+)", arguments[:close]) or re.findall(r"[A-Za-z_][\w.-]*", arguments[:close])
    literal = call[1] in ("constant", "parameter")  # its value, or its number
    rest = arguments[1:close] if literal else arguments[close + 1 :]
    return Instruction(head[2], body[:end], call[1], tuple(names), rest, bool(head[1]))


def _closing(text: str) -> int:
    """Where the parenthesis closes with which the text begins."""
    depth = 0
    for place, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return place
    return len(text) - 1


def trip_count(loop: Instruction, computations: dict[str, Computation]) -> float | None:
    """Iterations of a while loop: as the compiler notes them, else the one bound in its condition."""
    known = re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.rest)
    if known:
        return float(known[1])
    condition = re.search(r"condition=%?([\w.-]+)", loop.rest)
    constants = [
        int(i.rest)
        for i in computations[condition[1]].instructions.values()
        if i.opcode == "constant" and i.rest.isdecimal()
    ]
    return float(constants[0]) if len(constants) == 1 else None
