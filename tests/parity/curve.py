# SPDX-License-Identifier: Apache-2.0
"""A training run of 50 steps that another framework can repeat: all of it from fixed seeds.

Float32, dropout 0, peak rate 5e-4 with warm-up: DESIGN's conditions for "equal".
"""

import dataclasses
import functools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from ssl_jax import nn, optim, parallel
from ssl_jax.data import Labelled
from ssl_jax.data.plan_chunks import Chunks
from ssl_jax.data.plan_pairs import Pairs
from ssl_jax.data.plan_tags import Tagged
from ssl_jax.data.plan_windows import Windows
from ssl_jax.loop.guards import NonFinite
from ssl_jax.loop.state import State, draw
from ssl_jax.loop.step import make_step
from ssl_jax.objectives import BertPretraining, Classification, Masking, NextToken, SpanPrediction, Tagging
from ssl_jax.types import Meta, Objective, Part, Row
from tests.models.tiny import FAMILIES, VOCAB, drawn
from tests.objectives.fakes import CONTROL, TAGS, chunk_rows, meta, pair_rows, span_rows, tag_rows

STEPS, BATCH, LENGTH = 50, 8, 24
OPTIM = optim.Optim(peak_lr=5e-4, schedule=optim.Linear(warmup=5), weight_decay=0.1)


@dataclass(frozen=True)
class Curve:
    """family: the trunk, on which the objective makes its heads.  terms: what its loss adds up.  peer: their
    model, by a name of peers.BUILDERS."""

    family: str
    objective: Objective
    rows: list[Row]
    terms: tuple[str, ...]
    peer: str
    labels: tuple[str, ...] = ()

    @property
    def meta(self) -> Meta:
        return meta(VOCAB, labels=self.labels)

    @property
    def bound(self) -> Objective:
        return self.objective.bind(self.meta)

    def build(self, rngs: Any) -> nn.Model:
        trunk = FAMILIES[self.family].config.bind(self.meta).build(rngs)
        return nn.Model(trunk, self.bound.heads(trunk, rngs))


def _skewed(part: Part) -> Part:
    """Small ids often and large ones seldom, so that there is something to learn."""
    ordinary = VOCAB - CONTROL - 1
    tokens = CONTROL + 1 + (part.tokens - CONTROL - 1) ** 2 // ordinary
    return dataclasses.replace(part, tokens=tokens.astype(np.int32))


def _half(part: Part) -> Part:
    size = len(part.tokens) // 2
    return dataclasses.replace(part, tokens=part.tokens[:size], word_starts=part.word_starts[:size])


def _rows(rows: list[Row], *, shortened: bool = False) -> list[Row]:
    """rows with skewed tokens; shortened: every third loses half of its last part."""
    out = []
    for row in rows:
        *first, last = map(_skewed, row.parts)
        if shortened and row.id % 3 == 1:
            last = _half(last)
        out.append(dataclasses.replace(row, parts=(*first, last)))
    return out


def _labelled(label_of: Any, *, unknown: int | None = None) -> list[Row]:
    """Pairs and single texts, labelled by their first token; some have no label."""
    rows = []
    for row in _rows(pair_rows(LENGTH, STEPS * BATCH, VOCAB)):
        first = int(row.parts[0].tokens[0])
        label = None if unknown and row.id % 7 % unknown == 0 else label_of(first % 6)
        rows.append(dataclasses.replace(row, parts=row.parts[: 1 + row.id % 2], label=label))
    return rows


CURVES = {
    # Rows count very differently in both, so that a mean of means would show.
    "bert": Curve(
        "bert",
        BertPretraining(plan=Pairs(length=LENGTH), masking=Masking(rate=0.5)),
        _rows(pair_rows(LENGTH, STEPS * BATCH, VOCAB)),
        ("mlm", "nsp"),
        "bert",
    ),
    # Full rows: their loss also counts the logits of padding (see SpanPrediction, and test_spans.py).
    "spans": Curve(
        "bert",
        SpanPrediction(plan=Windows(length=LENGTH, question=6)),
        _rows(span_rows(LENGTH, STEPS * BATCH, VOCAB, spare=0)),
        ("nll",),
        "bert_spans",
    ),
    "gpt2": Curve(
        "gpt2",
        NextToken(plan=Chunks(length=LENGTH)),
        _rows(chunk_rows(LENGTH, STEPS * BATCH, VOCAB), shortened=True),
        ("lm",),
        "gpt2",
    ),
    "tagging": Curve(
        "bert",
        Tagging(plan=Tagged(length=LENGTH)),
        _rows(tag_rows(LENGTH, STEPS * BATCH, VOCAB)),
        ("nll",),
        "bert_tagging",
        TAGS,
    ),
    "classes": Curve(
        "bert",
        Classification(plan=Labelled(length=LENGTH)),
        _labelled(lambda number: "abc"[number % 3], unknown=4),
        ("nll",),
        "bert_classes",
        ("a", "b", "c"),
    ),
    "number": Curve(
        "bert",
        Classification(plan=Labelled(length=LENGTH), regression=True),
        _labelled(float),
        ("mse",),
        "bert_number",
    ),
}


def batches(curve: Curve) -> Iterator[dict[str, np.ndarray]]:
    objective = curve.bound
    for step in range(STEPS):
        rows = curve.rows[step * BATCH : (step + 1) * BATCH]
        generators = [np.random.Generator(np.random.Philox(key=[5, row.id])) for row in rows]
        examples = [objective.example(row, rng) for row, rng in zip(rows, generators, strict=True)]
        ids = np.array([row.id for row in rows], np.uint32)
        stacked = {name: np.stack([e[name] for e in examples]) for name in examples[0]}
        yield {**stacked, "row_id": ids, "row_hash": ids, "valid": np.ones(BATCH, bool)}


def checksum(curve: Curve) -> int:
    """Of all batches: a golden curve is worth nothing on other ones."""
    crc = 0
    for batch in batches(curve):
        for name in sorted(batch):
            crc = zlib.crc32(np.ascontiguousarray(batch[name]).tobytes(), crc)
    return crc


class Run:
    """Our side: the real step, on one device.  quick: compiled with little optimisation, in half the time."""

    def __init__(self, name: str, *, quick: bool = False, **step: Any):
        self.curve = CURVES[name]
        self.objective = self.curve.bound
        self.mesh, self.rules = parallel.MeshConfig().make(jax.devices()[:1]), parallel.Rules()
        self.blueprint, tx = draw(
            self.curve.build,
            self.objective,
            functools.partial(optim.build, OPTIM),
            (NonFinite(),),
            averaged=False,
            mesh=self.mesh,
            rules=self.rules,
        )
        function = make_step(
            self.blueprint.graphdef, self.objective, tx, self.schedule, (NonFinite(),), seed=0, **step
        )
        shardings = self.blueprint.shardings
        self._step = jax.jit(
            function,
            in_shardings=(shardings, parallel.batch_sharding(self.mesh)),
            out_shardings=(shardings, None),
            donate_argnums=0,
            compiler_options=parallel.once(self.mesh) if quick else None,
        )

    @property
    def schedule(self) -> Any:
        return optim.schedule(OPTIM, STEPS)

    @property
    def decay_mask(self) -> Any:
        return optim.decay_mask(OPTIM, self.blueprint.axes)

    def params(self) -> Any:
        """numpy, before the first step; half as wide as for the logits, so that 50 steps of Adam matter."""
        return drawn(self.blueprint.shapes.params, spread=0.5)

    def steps(self) -> Iterator[tuple[State, dict[str, Any]]]:
        """(state after it, metrics) of each step."""
        shapes, params = self.blueprint.shapes, self.params()
        zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
        state = State(zeros.step, params, zeros.opt, zeros.extra, zeros.guards, zeros.ema)
        state = jax.device_put(state, self.blueprint.shardings)
        for batch in batches(self.curve):
            with parallel.use(self.mesh, self.rules):
                state, metrics = self._step(state, batch)
            yield state, jax.device_get(metrics)

    def losses(self, steps: int = STEPS) -> dict[str, np.ndarray]:
        """name -> [steps]: the loss, its terms and the gradient's norm before clipping."""
        out = [metrics for _, (_, metrics) in zip(range(steps), self.steps())]
        names = ("loss", *self.curve.terms, "grad_norm")
        return {name: np.array([metrics[name] for metrics in out], np.float32) for name in names}
