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
_OF_LOOP = ("condition", "body")
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
                cost(i, here) + _turns(i, here, self.computations) * sum(map(whole, chosen(i)))
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
            here = self.computations[name]
            for instruction in here.instructions.values() if times[name] else ():
                for callee in chosen(instruction):
                    times[callee] += times[name] * _turns(instruction, here, self.computations)
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
    loops = ((i, c) for c in computations.values() for i in c.instructions.values() if i.opcode == "while")
    return Module(computations, entry, sum(trip_count(*loop, computations) is None for loop in loops))


def _turns(instruction: Instruction, here: Computation, computations: dict[str, Computation]) -> float:
    if instruction.opcode != "while":
        return 1.0
    known = trip_count(instruction, here, computations)
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


def trip_count(loop: Instruction, here: Computation, computations: dict[str, Computation]) -> float | None:
    """Iterations of a while loop: as the compiler notes them, else by the one bound in its condition, and by
    where in `here` its counter begins and how the body steps it (0 and by 1 where that isn't said)."""
    known = re.search(r'known_trip_count"?:\{"?n"?:"?(\d+)', loop.rest)
    if known:
        return float(known[1])
    condition, body = (computations[re.search(rf"{name}=%?([\w.-]+)", loop.rest)[1]] for name in _OF_LOOP)
    bounds = [value for i in condition.instructions.values() if (value := _number(i)) is not None]
    if len(bounds) != 1:
        return None
    places = [
        int(index[1])
        for i in condition.operands(condition.root)
        if (index := re.search(r"index=(\d+)", i.rest))
    ]
    begin = _number(_element(here, loop.operands[0], places)) or 0
    stepped = _element(body, body.root.name, places)
    steps = [_number(i) for i in body.operands(stepped)] if stepped and stepped.opcode == "add" else []
    return math.ceil((bounds[0] - begin) / next(filter(None, steps), 1))


def _element(here: Computation, of: str, places: list[int]) -> Instruction | None:
    """What stands at the one place of a tuple."""
    made = here.instructions.get(of)
    if made is None or made.opcode != "tuple" or len(places) != 1:
        return None
    return here.instructions.get(made.operands[places[0]])


def _number(instruction: Instruction | None) -> int | None:
    """Of a constant."""
    if instruction is None or instruction.opcode != "constant":
        return None
    value = instruction.rest.partition(")")[0]
    return int(value) if value.isdecimal() else None
