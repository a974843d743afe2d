# SPDX-License-Identifier: Apache-2.0
"""Every family with every head, tiny, on the weights and documents of tests/models/tiny.py.

B rows of T positions, V vocabulary, C classes.
"""

import dataclasses
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssl_jax import hf, models, nn
from ssl_jax.hf import writing
from ssl_jax.objectives import (
    BertPretraining,
    Classification,
    MaskedLm,
    NextToken,
    Read,
    SpanPrediction,
    Tagging,
)
from ssl_jax.types import Meta, Objective
from tests.models import tiny
from tests.objectives.fakes import PAD, FakeTokenizer

SPARE = 3  # rows of the token table beyond the tokenizer's tokens
CLASSES = ("no", "yes", "perhaps")
NO_TYPES = dataclasses.replace(tiny.BERT, num_types=0)
ROBERTA = dataclasses.replace(tiny.BERT, num_types=1, first_position=PAD + 1, norm_eps=1e-5)
UNTIED = dataclasses.replace(tiny.QWEN, tied=False, vocab_rows=tiny.VOCAB + SPARE)


@dataclass(frozen=True)
class Case:
    """A network and what it is for."""

    config: models.TextConfig
    objective: Objective | None
    labels: tuple[str, ...] = ()

    @property
    def meta(self) -> Meta:
        return Meta(tokenizer=FakeTokenizer(tiny.VOCAB), labels=self.labels)

    @property
    def bound(self) -> models.TextConfig:
        return self.config.bind(self.meta)

    @property
    def known(self) -> Objective | None:
        return self.objective and dataclasses.replace(self.objective, meta=self.meta)

    @property
    def vocab_size(self) -> int:
        return self.bound.spec().vocab_size

    def build(self) -> nn.Model:
        rngs = nnx.Rngs(0)
        trunk = self.bound.build(rngs)
        if self.known is not None:
            return nn.Model(trunk, self.known.heads(trunk, rngs))
        has_pooler = isinstance(self.config, models.BertConfig)
        return nn.Model(trunk, {"pooler": nn.Pooler(trunk, rngs=rngs)} if has_pooler else {})


def _classes(config: Any, read: Read, **options: Any) -> Case:
    labels = () if options.get("regression") else CLASSES
    return Case(config, Classification(read=read, **options), labels)


def _tags(config: Any) -> Case:
    return Case(config, Tagging(), CLASSES)


def _spans(config: Any) -> Case:
    return Case(config, SpanPrediction())


CASES = {
    "bert": Case(tiny.BERT, BertPretraining()),
    "bert_mlm": Case(NO_TYPES, MaskedLm()),
    "bert_masked": Case(tiny.BERT, MaskedLm()),
    "bert_classes": _classes(tiny.BERT, Read.POOLER),
    "bert_tags": _tags(tiny.BERT),
    "bert_spans": _spans(tiny.BERT),
    "bert_number": _classes(tiny.BERT, Read.POOLER, regression=True),
    "bert_trunk": Case(tiny.BERT, None),
    "roberta": Case(ROBERTA, MaskedLm()),
    "roberta_classes": _classes(ROBERTA, Read.POOLER),
    "roberta_tags": _tags(ROBERTA),
    "roberta_spans": _spans(ROBERTA),
    "roberta_trunk": Case(ROBERTA, None),
    "gpt2": Case(tiny.GPT, NextToken()),
    "gpt2_classes": _classes(tiny.GPT, Read.LAST),
    "gpt2_tags": _tags(tiny.GPT),
    "gpt2_trunk": Case(tiny.GPT, None),
    "modernbert": Case(tiny.MODERN, MaskedLm()),
    "modernbert_untied": Case(dataclasses.replace(tiny.MODERN, tied=False), MaskedLm()),
    "modernbert_classes": _classes(tiny.MODERN, Read.POOLER),
    "modernbert_tags": _tags(tiny.MODERN),
    "modernbert_spans": _spans(tiny.MODERN),
    "qwen3": Case(tiny.QWEN, NextToken()),
    "qwen3_untied": Case(UNTIED, NextToken()),
    "qwen3_classes": _classes(tiny.QWEN, Read.LAST),
    "qwen3_tags": _tags(tiny.QWEN),
    "qwen3_trunk": Case(tiny.QWEN, None),
}

RETURNING = [name for name in CASES if name != "bert_mlm"]  # it comes back with types, all zeros


@functools.cache
def made(name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """(graphdef, our leaves by flat name) of a case, freshly drawn; what pads the vocabulary is zero."""
    case, static = CASES[name], {}

    def abstract():
        static["graphdef"], params = nn.split(case.build())
        return params

    drawn = flat(tiny.drawn(jax.eval_shape(abstract)))
    padded, true = case.bound.spec().padded_vocab, case.vocab_size
    for leaf in drawn.values():
        if leaf.shape[0] == padded:
            leaf[true:] = 0
    if isinstance(case.config, models.ModernConfig) and not case.config.first_attention_norm:
        drawn["trunk.stack.blocks.attention_norm.scale"][0] = 1
    return static["graphdef"], drawn


def flat(params: Any) -> dict[str, np.ndarray]:
    paths, _ = jax.tree_util.tree_flatten_with_path(params)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in paths}


def nested(leaves: dict[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, leaf in leaves.items():
        *path, last = name.split(".")
        node = tree
        for part in path:
            node = node.setdefault(part, {})
        node[last] = leaf
    return tree


def outgoing(name: str, leaves: dict[str, np.ndarray]) -> hf.Outgoing:
    case = CASES[name]
    return hf.Outgoing(
        config=case.bound,
        objective=case.known,
        labels=case.labels,
        specials=case.meta.tokenizer.specials,
        shapes={leaf: value.shape for leaf, value in leaves.items()},
        read=lambda names: {leaf: leaves[leaf] for leaf in names},
    )


def exported(name: str, out: Path, leaves: Any = None, dtype: str = "float32", **options: Any) -> Path:
    """The case in a directory, with its own leaves or with others."""
    out.mkdir(exist_ok=True)
    leaves = made(name)[1] if leaves is None else leaves
    options = dict(shard_size=1 << 30, progress=lambda *_: None) | options
    outgoing(name, leaves).write(out, dtype=dtype, **options)
    return out


def imported(name: str, path: Path) -> dict[str, np.ndarray]:
    """Our leaves of a directory."""
    leaves: dict[str, np.ndarray] = {}
    for some in hf.Incoming(path).matched(CASES[name].meta).leaves():
        leaves |= some
    return leaves


def state(name: str, leaves: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Our leaves as the tensors of `transformers`."""
    model = outgoing(name, leaves)
    plan = writing.stored(model.family, model.use, model.shapes, CASES[name].vocab_size)
    return {t.name: np.array(v) for t, v in zip(plan, writing.values(plan, model.read), strict=True)}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _outputs(name, graphdef, params, batch):
    case, model = CASES[name], nn.merge(graphdef, params)
    if isinstance(case.objective, Classification):
        return {"logits": case.known.logits(model, batch)}
    if isinstance(case.objective, Tagging):
        return {"tokens": case.known.logits(model, batch)}
    if isinstance(case.objective, SpanPrediction):
        return {"tokens": case.known.logits(model, batch).swapaxes(1, 2)}
    states = model.encode(batch["tokens"], batch["segments"], batch["types"])
    if case.objective is None:
        pooled = {"pooled": model.heads["pooler"](states)} if "pooler" in model.heads else {}
        return {"states": states, **pooled}
    (head, *_) = model.heads
    out = {"tokens": model.heads[head](states, model.trunk.table)[..., : case.vocab_size]}
    if "nsp" in model.heads:
        out["nsp"] = model.heads["nsp"](model.heads["pooler"](states))
    return out


PER_TOKEN = ("tokens", "states")


def outputs(name: str, leaves: dict[str, np.ndarray], rows: Any = tiny.ALONE) -> dict[str, np.ndarray]:
    """Ours: [all tokens, ...] of what is a token's, [rows, ...] of the rest."""
    batch, places = tiny.laid_out(rows)
    out = _outputs(name, made(name)[0], nested(leaves), jax.tree.map(jnp.asarray, batch))
    out = {key: np.asarray(value) for key, value in out.items()}
    return {
        key: np.concatenate([value[r, here] for r, here in places]) if key in PER_TOKEN else value
        for key, value in out.items()
    }
