# SPDX-License-Identifier: Apache-2.0
"""The contracts between the rooms: what an objective, a plan, a tokenizer and a model are.

Imports nothing of ours.  Shapes: B rows of a (micro-)batch, T positions, D width, K masked positions.
"""

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, runtime_checkable

import jax
import numpy as np

Batch = Mapping[str, Any]  # name -> [B, ...]; the pipeline adds row_id, row_hash (uint32) and valid (bool)
Example = dict[str, np.ndarray]  # name -> one row of the batch, numpy
Rng = np.random.Generator
Progress = Callable[[str, int, int | None, str], None]  # (stage, done, total or None, unit)


class UserError(Exception):
    """A mistake that the user can mend: one line that says what to do; exit status 2."""


class Failure(Exception):
    """A failure that is nobody's mistake (disk full, out of memory): one line; exit status 1."""


class Told(Exception):
    """Another process of the run has said what is wrong: this one leaves silently, with the same status."""

    def __init__(self, status: int):
        super().__init__(status)
        self.status = status


# ---------------------------------------------------------------------------------------- loss terms


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Mean:
    """One term of a loss or one metric, as numerator and denominator, a row each.

    total, weight: [B] or [B, ...] float32.  The step sums both over the whole global batch and divides
    once (0/0 is 0).  The weight depends on the batch alone, never on a parameter.  coef is static; the
    loss is the sum of coef * total / weight, so coef=0 is a metric only.
    """

    total: Any
    weight: Any
    coef: float = field(default=1.0, metadata={"static": True})


# ------------------------------------------------------------------------------------------ one row


@dataclass(frozen=True)
class Part:
    """A slice of one document: tokens [n] int32, word_starts [n] bool (token begins a word).

    doc: the document's number in its store; start: the slice's first token within the document.
    """

    doc: int
    start: int
    tokens: np.ndarray
    word_starts: np.ndarray


@dataclass(frozen=True)
class Row:
    """What a plan says belongs together.  id counts over all epochs (epoch = id // num_rows)."""

    id: int
    parts: tuple[Part, ...]
    label: Any = None
    fields: Mapping[str, Any] = field(default_factory=dict)


# --------------------------------------------------------------------------------------------- text


@dataclass(frozen=True, kw_only=True)
class Specials:
    """Ids of the special tokens; None where the tokenizer has none."""

    pad: int
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    mask: int | None = None
    bos: int | None = None
    eos: int | None = None

    def ids(self) -> frozenset[int]:
        return frozenset(v for v in dataclasses.asdict(self).values() if v is not None)


class Tokenizer(Protocol):
    """Text <-> ids.  A special token typed in a text never becomes a special id in encode."""

    @property
    def vocab_size(self) -> int: ...  # the true size; models pad it inside
    @property
    def specials(self) -> Specials: ...
    @property
    def fingerprint(self) -> str: ...  # sha256 of the files that define it
    @property
    def undrawable(self) -> frozenset[int]: ...  # ids never masked in nor drawn: specials, control pieces
    def encode(self, text: str) -> np.ndarray: ...  # int32 [n]; no specials added
    def encode_batch(self, texts: Sequence[str], num_threads: int = 1) -> list[np.ndarray]: ...
    def encode_with_masks(self, text: str) -> np.ndarray: ...  # a typed [MASK] becomes the mask id
    def decode(self, ids: Sequence[int]) -> str: ...
    def pieces(self, ids: Sequence[int]) -> list[str]: ...  # readable pieces, for people


@dataclass(frozen=True, kw_only=True)
class Meta:
    """What bind hands to an objective and to a model's config, known only once the data is.

    vocab_shards: the size of the tensor axis at the run's birth; the padded vocabulary is a multiple
    of 128 * vocab_shards, and stays what it was when the run resumes on another mesh.
    labels: names of the classes; texts: how many texts an example has (None: not known).
    """

    tokenizer: Tokenizer
    vocab_shards: int = 1
    labels: tuple[str, ...] = ()
    texts: int | None = None

    @property
    def vocab_size(self) -> int:
        return self.tokenizer.vocab_size

    @property
    def padded_vocab(self) -> int:
        return self.padded(self.vocab_size)

    def padded(self, rows: int) -> int:
        """The rows of a vocabulary's table, padding included."""
        multiple = 128 * self.vocab_shards
        return -(-rows // multiple) * multiple


def bound_field() -> Any:
    """The one field of an objective or a config that bind fills and config.json never sees."""
    return field(default=None, repr=False, compare=False, metadata={"bound": True})


# --------------------------------------------------------------------------------------------- plan


class OpenPlan(Protocol):
    """A plan over one store: N rows in every epoch, row r a pure function of (store, plan, seed, r)."""

    @property
    def num_rows(self) -> int: ...  # N, the rows of one epoch
    @property
    def num_tokens(self) -> int: ...  # tokens in one epoch that are not padding, specials included
    @property
    def fingerprint(self) -> str: ...  # of (store, plan, seed)
    def __getitem__(self, r: int) -> Row: ...  # any r >= 0: row r mod N of epoch r div N
    def report(self) -> str: ...  # for people: rows, fill, what was dropped or truncated


class Plan(Protocol):
    """Which slices of which documents make row r.  A frozen dataclass of a recipe."""

    @property
    def length(self) -> int: ...  # T
    def open(self, store: Any, seed: int, shuffle: bool = True) -> OpenPlan: ...
    def typed(self, document: Any) -> Row: ...  # one encoded document cut to a row, to look at


# --------------------------------------------------------------------------------------- parameters


@dataclass(frozen=True)
class Axes:
    """Logical axis names of one parameter, one a dimension (None: never sharded).  A leaf, not a tree."""

    names: tuple[str | None, ...]


# ----------------------------------------------------------------------------------------- objective


@dataclass(frozen=True, kw_only=True)
class Objective(abc.ABC):
    """What is hidden, what must be predicted, and how wrong a prediction is.

    The loop knows nothing but this class.  A subclass is a frozen dataclass in one file of its own.
    """

    plan: Any = None  # a Plan
    meta: Meta | None = bound_field()

    def bind(self, meta: Meta) -> Self:
        """This objective, knowing the tokenizer.  Raises UserError where the two don't fit."""
        return dataclasses.replace(self, meta=meta)

    @abc.abstractmethod
    def spec(self) -> dict[str, Any]:
        """Name -> jax.ShapeDtypeStruct of one row (no batch axis).  A row of zeros is legal."""

    @abc.abstractmethod
    def example(self, row: Row, rng: Rng) -> Example:
        """One row as the model will see it (host, numpy): masking and shifting happen here."""

    @abc.abstractmethod
    def heads(self, trunk: Any, rngs: Any) -> dict[str, Any]:
        """Name -> nnx.Module.  None holds a Param of the trunk: a tied head gets the table at the call."""

    @abc.abstractmethod
    def loss(self, model: Any, extra: Any, batch: Batch, key: Any) -> dict[str, Mean]:
        """The terms (device, pure).  key=None is deterministic.

        A row's share depends on that row alone: batch holds some rows, how many depends on mesh and
        micro-batch.
        """

    def predict(self, model: Any, batch: Batch) -> dict[str, Any]:
        """Per-example outputs [B, ...] for metrics that are no sum."""
        return {}

    def show(self, example: Example) -> str:
        """One example as people read it."""
        return "\n".join(f"{name}: {value}" for name, value in example.items())

    def init_extra(self, model: Any) -> Any:
        """State beside the parameters (a teacher, a codebook)."""
        return ()

    def update(self, extra: Any, model: Any, means: dict[str, Any], step: Any) -> Any:
        """The next extra, inside the jitted step."""
        return extra


# -------------------------------------------------------------------------------------------- model


@runtime_checkable
class ModelConfig(Protocol):
    """A frozen dataclass of a recipe that builds a trunk."""

    def bind(self, meta: Meta) -> Self: ...
    def build(self, rngs: Any) -> Any: ...  # the trunk, an nnx.Module


class Trunk(Protocol):
    """Tokens (or patches, frames) to hidden states.  Parameters only, no loss, no state.

    segments [B, T] int32: 0 is padding; a position sees only positions with its own number.
    """

    def embed(self, tokens: Any, segments: Any, types: Any = None, key: Any = None) -> Any: ...  # [B, T, D]
    def __call__(self, x: Any, segments: Any, key: Any = None, every: bool = False) -> Any: ...  # [B, T, D]

    @property
    def table(self) -> Any: ...  # [V_padded, D], for tied heads
