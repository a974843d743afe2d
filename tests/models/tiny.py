# SPDX-License-Identifier: Apache-2.0
"""One tiny model of every family, its weights and its documents: the same wherever they are drawn.

Sizes are odd, or at least no powers of two, so that no transposed kernel and no swapped axis fits by chance.
N documents of n tokens each; B rows of T positions; D width; V vocabulary.
"""

import functools
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssl_jax import models, nn
from ssl_jax.types import Meta
from tests.objectives.fakes import CONTROL, FakeTokenizer

VOCAB, POSITIONS = 101, 40
LENGTHS = (17, 9, 29, 1, 11, 5)  # of the documents
ROWS, LENGTH = 6, 29
PACKED = ((0, 1), (2,), (3, 4, 5))  # documents of each row; the remaining rows are padding alone
SIZES = dict(dim=36, num_heads=3, max_positions=POSITIONS, dropout=0.0)

QWEN = models.ModernConfig(
    **SIZES | dict(num_heads=6),
    num_layers=3,
    num_kv_heads=3,
    head_dim=10,
    mlp_dim=28,
    activation=nn.Activation.SILU,
    norm=nn.NormKind.RMS,
    norm_eps=1e-6,
    qk_norm=True,
    causal=True,
    local_window=4,
    global_every=2,
    global_theta=1_000_000.0,
    local_theta=1_000_000.0,
    embedding_norm=False,
    first_attention_norm=True,
)
MODERN = models.ModernConfig(**SIZES, num_layers=4, mlp_dim=28, local_window=7, global_every=3)
BERT = models.BertConfig(**SIZES, num_layers=2, mlp_dim=52, attention_dropout=0.0)
GPT = models.GptConfig(**SIZES, num_layers=2, mlp_dim=52, attention_dropout=0.0)


def _bert_heads(trunk: Any, rngs: nnx.Rngs) -> dict[str, Any]:
    return {
        "mlm": nn.MlmHead(trunk, rngs=rngs),
        "pooler": nn.Pooler(trunk, rngs=rngs),
        "nsp": nn.Classifier(trunk, 2, rngs=rngs),
    }


def _mlm_head(trunk: Any, rngs: nnx.Rngs) -> dict[str, Any]:
    return {"mlm": nn.MlmHead(trunk, rngs=rngs)}


def _lm_head(trunk: Any, rngs: nnx.Rngs) -> dict[str, Any]:
    return {"lm": nn.LmHead(trunk, rngs=rngs)}


@dataclass(frozen=True)
class Family:
    """A config and the heads on it."""

    config: models.TextConfig
    heads: Any

    def build(self, rngs: nnx.Rngs) -> nn.Model:
        trunk = self.config.bind(Meta(tokenizer=FakeTokenizer(VOCAB))).build(rngs)
        return nn.Model(trunk, self.heads(trunk, rngs))

    @property
    def head(self) -> str:
        return "lm" if self.heads is _lm_head else "mlm"


FAMILIES: Mapping[str, Family] = {
    "bert": Family(BERT, _bert_heads),
    "bert_mlm": Family(models.BertConfig(**SIZES, num_layers=2, mlp_dim=52, num_types=0), _mlm_head),
    "gpt2": Family(GPT, _lm_head),
    "modernbert": Family(MODERN, _mlm_head),
    "qwen3": Family(QWEN, _lm_head),
}


def drawn(shapes: Any, *, spread: float = 1.0) -> Any:
    """numpy weights for a tree of shapes: each leaf from a generator of its own, seeded by its path.

    Nothing is 0 or 1, neither biases nor scales of norms nor what only pads the vocabulary.  spread: of the
    kernels and tables.
    """

    def leaf(path, shape):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        # numpy promises never to change this generator, so golden files made of it stay valid.
        x = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape.shape).astype(np.float32)
        kind = path[-1].key
        if kind == "scale":
            return 1 + np.float32(0.2) * x
        if kind == "bias":
            return np.float32(0.1 * spread) * x
        return np.float32(0.25 * spread) * x

    return jax.tree_util.tree_map_with_path(leaf, shapes)


@functools.cache
def made(name: str) -> tuple[Any, Any]:
    """(graphdef, numpy params) of a family."""
    static = {}

    def abstract():
        static["graphdef"], params = nn.split(FAMILIES[name].build(nnx.Rngs(0)))
        return params

    params = drawn(jax.eval_shape(abstract))
    return static["graphdef"], params


def documents() -> list[np.ndarray]:
    """Ordinary tokens [n] int32."""
    random = np.random.RandomState(7)
    return [random.randint(CONTROL + 1, VOCAB, n).astype(np.int32) for n in LENGTHS]


def types_of(document: np.ndarray) -> np.ndarray:
    """The second half of each document is its second sentence."""
    return (np.arange(len(document)) >= len(document) // 2).astype(np.int32)


def laid_out(rows: tuple[tuple[int, ...], ...]) -> tuple[dict[str, np.ndarray], list[tuple[int, slice]]]:
    """The documents of each row, end to end: tokens, types, segments [ROWS, LENGTH], and where each is."""
    batch = {name: np.zeros((ROWS, LENGTH), np.int32) for name in ("tokens", "types", "segments")}
    places = {}
    all_documents = documents()
    for r, row in enumerate(rows):
        at = 0
        for number, d in enumerate(row, start=1):
            here = slice(at, at + LENGTHS[d])
            batch["tokens"][r, here] = all_documents[d]
            batch["types"][r, here] = types_of(all_documents[d])
            batch["segments"][r, here] = number
            places[d] = (r, here)
            at = here.stop
    return batch, [places[d] for d in range(len(LENGTHS))]


ALONE = tuple((d,) for d in range(len(LENGTHS)))  # a document a row


@functools.partial(jax.jit, static_argnums=(0, 1))
def _logits(graphdef, head, params, batch):
    model = nn.merge(graphdef, params)
    states = model.encode(batch["tokens"], batch["segments"], batch["types"])
    out = {"logits": model.heads[head](states, model.trunk.table)[..., :VOCAB]}
    if "nsp" in model.heads:
        out["nsp"] = model.heads["nsp"](model.heads["pooler"](states))
    return out


def logits(name: str, rows: tuple[tuple[int, ...], ...]) -> dict[str, np.ndarray]:
    """Our logits [all tokens, V], one document after another; for BERT also "nsp" [ROWS, 2], a row each."""
    graphdef, params = made(name)
    batch, places = laid_out(rows)
    out = _logits(graphdef, FAMILIES[name].head, params, jax.tree.map(jnp.asarray, batch))
    tokens = np.asarray(out["logits"])
    nsp = {"nsp": np.asarray(out["nsp"])} if "nsp" in out else {}
    return {"logits": np.concatenate([tokens[r, here] for r, here in places]), **nsp}


def distance(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, as a share of the largest of theirs."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return float(np.abs(ours.astype(np.float64) - theirs).max() / np.abs(theirs).max())
