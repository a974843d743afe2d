# SPDX-License-Identifier: Apache-2.0
"""One line of a family's table: a tensor of theirs, the leaves of ours that it holds, and how it holds them.

Every line works in both directions and loses no bit.  Our leaves have their flat names ("trunk.embeddings.
tokens"); those under BLOCKS are stacked on a leading axis of layers, theirs have a name a layer.
L layers, V vocabulary, V_padded ours.
"""

import enum
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

BLOCKS = "trunk.stack.blocks."
LAYER = "{n}"  # in a name of theirs: the layer


class How(enum.Enum):
    """How a tensor of theirs holds ours.

    LINEAR: torch's Linear is [out, in], our kernels are [in, out]; several of ours stand one below the other.
    CONV: GPT-2's Conv1D is [in, out] as ours; several of ours stand side by side.
    WHOLE: the same numbers in the same shape; several vectors stand end to end.
    ROWS: the same without the rows that pad our vocabulary.
    """

    LINEAR = "linear"
    CONV = "conv"
    WHOLE = "whole"
    ROWS = "rows"


@dataclass(frozen=True)
class Line:
    """theirs: a tensor's name.  ours: the leaves in it.  first: the first layer that has it; before it ours
    holds ones that no number depends on (ModernBERT's layer 0 has no norm before attention)."""

    theirs: str
    ours: tuple[str, ...]
    how: How
    first: int = 0

    @property
    def stacked(self) -> bool:
        return LAYER in self.theirs


Shapes = Mapping[str, tuple[int, ...]]  # of our leaves, by flat name


@dataclass(frozen=True)
class Tensor:
    """A tensor of theirs: line, its layer (None: of no layer), name and shape."""

    line: Line
    layer: int | None
    name: str
    shape: tuple[int, ...]


def tensors(line: Line, shapes: Shapes, vocab_size: int) -> Iterator[Tensor]:
    """What a line stands for in a model whose leaves have these shapes."""
    parts = [shapes[name] for name in line.ours]
    if not line.stacked:
        yield Tensor(line, None, line.theirs, _shape(line, parts, vocab_size))
        return
    layers, parts = parts[0][0], [part[1:] for part in parts]
    for n in range(line.first, layers):
        yield Tensor(line, n, line.theirs.replace(LAYER, str(n)), _shape(line, parts, vocab_size))


def _shape(line: Line, parts: Sequence[tuple[int, ...]], vocab_size: int) -> tuple[int, ...]:
    match line.how:
        case How.WHOLE:
            return (sum(part[0] for part in parts), *parts[0][1:])
        case How.ROWS:
            return (vocab_size, *parts[0][1:])
        case How.LINEAR | How.CONV:
            sizes = [_matrix(name, part) for name, part in zip(line.ours, parts, strict=True)]
            inputs, outputs = sizes[0][0], sum(out for _, out in sizes)
            return (inputs, outputs) if line.how is How.CONV else (outputs, inputs)


def _matrix(name: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(in, out) of a kernel: heads are on the input side of attention's last projection alone."""
    inner = 2 if name.endswith("attention.out.kernel") else 1
    return math.prod(shape[:inner]), math.prod(shape[inner:])


def to_theirs(tensor: Tensor, leaves: Mapping[str, np.ndarray]) -> np.ndarray:
    """The tensor from whole leaves of ours; a view where nothing moves."""
    line = tensor.line
    parts = [leaves[name] if tensor.layer is None else leaves[name][tensor.layer] for name in line.ours]
    match line.how:
        case How.WHOLE:
            return parts[0] if len(parts) == 1 else np.concatenate(parts)
        case How.ROWS:
            return parts[0][: tensor.shape[0]]
        case How.LINEAR | How.CONV:
            kernels = [p.reshape(_matrix(name, p.shape)) for name, p in zip(line.ours, parts, strict=True)]
            if line.how is How.CONV:
                return np.concatenate(kernels, axis=1) if len(kernels) > 1 else kernels[0]
            return np.concatenate([kernel.T for kernel in kernels])


def to_ours(tensor: Tensor, value: np.ndarray, leaves: Mapping[str, np.ndarray]) -> None:
    """Writes the tensor's numbers into leaves of ours, which are there in full size."""
    line, at = tensor.line, 0
    for name in line.ours:
        leaf = leaves[name] if tensor.layer is None else leaves[name][tensor.layer]
        match line.how:
            case How.WHOLE:
                leaf[...] = value[at : at + leaf.shape[0]]
                at += leaf.shape[0]
            case How.ROWS:
                leaf[: value.shape[0]] = value
                leaf[value.shape[0] :] = 0
            case How.LINEAR | How.CONV:
                _, outputs = _matrix(name, leaf.shape)
                columns = value.T if line.how is How.LINEAR else value
                leaf[...] = columns[:, at : at + outputs].reshape(leaf.shape)
                at += outputs
        if line.first:
            leaves[name][: line.first] = 1
