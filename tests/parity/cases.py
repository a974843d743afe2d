# SPDX-License-Identifier: Apache-2.0
"""Tiny models of odd sizes with weights that numpy draws, and the same weights under transformers' names."""

import dataclasses
import functools
import zlib
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ssl_jax import models, nn
from tests.nn.common import meta

VOCAB, LENGTH = 101, 13
GOLDEN = Path(__file__).resolve().parents[1] / "golden"


@dataclass(frozen=True)
class Case:
    """hf_class(hf_config(**hf)) should give the numbers of cfg's model."""

    name: str
    cfg: models.TextConfig
    hf_class: str
    hf_config: str
    hf: tuple[tuple[str, object], ...]
    pairs: bool = False  # BERT's: types are given, and there is a next-sentence head


_SIZES = dict(dim=36, num_heads=3, max_positions=17)
_HF_SIZES = dict(vocab_size=VOCAB, hidden_size=36, num_attention_heads=3, max_position_embeddings=17)
_QWEN = models.ModernConfig(
    **{**_SIZES, "num_heads": 4},
    num_layers=3,
    num_kv_heads=2,
    head_dim=10,
    mlp_dim=29,
    activation=nn.Activation.SILU,
    norm=nn.NormKind.RMS,
    norm_eps=1e-6,
    qk_norm=True,
    causal=True,
    global_every=1,
    global_theta=50.0,
    local_theta=50.0,
    embedding_norm=False,
    first_attention_norm=True,
)
_HF_QWEN = {
    **_HF_SIZES,
    **dict(
        num_attention_heads=4, num_key_value_heads=2, head_dim=10, intermediate_size=29, rms_norm_eps=1e-6
    ),
    **dict(num_hidden_layers=3, tie_word_embeddings=True),
    "rope_parameters": {"rope_type": "default", "rope_theta": 50.0},
}
_KINDS = ["full_attention", "sliding_attention", "sliding_attention", "full_attention", "sliding_attention"]

CASES = [
    Case(
        "bert",
        models.BertConfig(**_SIZES, num_layers=3, mlp_dim=50, dropout=0.0, attention_dropout=0.0),
        "BertForPreTraining",
        "BertConfig",
        tuple({**_HF_SIZES, "num_hidden_layers": 3, "intermediate_size": 50}.items()),
        pairs=True,
    ),
    Case(
        "gpt",
        models.GptConfig(**_SIZES, num_layers=3, mlp_dim=50, dropout=0.0, attention_dropout=0.0),
        "GPT2LMHeadModel",
        "GPT2Config",
        tuple(dict(vocab_size=VOCAB, n_embd=36, n_head=3, n_positions=17, n_layer=3, n_inner=50).items()),
    ),
    Case(
        "modernbert",
        models.ModernConfig(
            **_SIZES, num_layers=5, mlp_dim=29, local_window=4, global_theta=900.0, local_theta=70.0
        ),
        "ModernBertForMaskedLM",
        "ModernBertConfig",
        tuple(
            {
                **_HF_SIZES,
                **dict(num_hidden_layers=5, intermediate_size=29, local_attention=4, layer_types=_KINDS),
                **dict(pad_token_id=0, bos_token_id=1, cls_token_id=1, eos_token_id=2, sep_token_id=2),
                "rope_parameters": {
                    "full_attention": {"rope_type": "default", "rope_theta": 900.0},
                    "sliding_attention": {"rope_type": "default", "rope_theta": 70.0},
                },
            }.items()
        ),
    ),
    Case("qwen", _QWEN, "Qwen3ForCausalLM", "Qwen3Config", tuple(_HF_QWEN.items())),
    Case(
        "qwen_local",
        dataclasses.replace(_QWEN, global_every=2, local_window=4),
        "Qwen3ForCausalLM",
        "Qwen3Config",
        tuple(
            {
                **_HF_QWEN,
                **dict(use_sliding_window=True, sliding_window=4),
                "layer_types": ["full_attention", "sliding_attention", "full_attention"],
            }.items()
        ),
    ),
]


def batch() -> dict[str, np.ndarray]:
    """Three rows: full, half padded, one token."""
    rng = np.random.RandomState(0)
    segments = (np.arange(LENGTH) < np.array([[LENGTH], [6], [1]])).astype(np.int32)
    tokens = rng.randint(3, VOCAB, (3, LENGTH)).astype(np.int32) * segments
    types = ((np.arange(LENGTH) > 3) * segments).astype(np.int32)
    return {"tokens": tokens, "segments": segments, "types": types}


def build(case: Case, rngs: nnx.Rngs) -> nn.Model:
    trunk = case.cfg.bind(meta(VOCAB)).build(rngs)
    if case.pairs:
        heads = {
            "mlm": nn.MlmHead(trunk, rngs=rngs),
            "pooler": nn.Pooler(trunk, rngs=rngs),
            "nsp": nn.Classifier(trunk, 2, rngs=rngs),
        }
    elif trunk.spec.causal:
        heads = {"lm": nn.LmHead(trunk, rngs=rngs)}
    else:
        heads = {"mlm": nn.MlmHead(trunk, rngs=rngs)}
    return nn.Model(trunk, heads)


@functools.cache
def model_of(case_name: str):
    """(graphdef, params): a leaf's numbers depend on its path and shape alone."""
    case = next(c for c in CASES if c.name == case_name)
    static = {}

    def abstract():
        static["graphdef"], params = nn.split(build(case, nnx.Rngs(0)))
        return params

    def drawn(path, leaf):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        rng = np.random.RandomState(zlib.crc32(name.encode()))
        x = rng.standard_normal(leaf.shape).astype(np.float32) * 0.3
        if name.endswith("scale"):
            x = x + 1
        if name.endswith("tokens") or name == "heads.mlm.bias":
            x[VOCAB:] = 0
        return x

    params = jax.tree_util.tree_map_with_path(drawn, jax.eval_shape(abstract))
    return static["graphdef"], params


def ours(case_name: str) -> dict[str, np.ndarray]:
    """Our logits at all positions, without the vocabulary's padding: name -> [3, T, V] or [3, 2]."""
    graphdef, params = model_of(case_name)
    fed = {name: jnp.asarray(value) for name, value in batch().items()}

    @jax.jit
    def run(params):
        model = nn.merge(graphdef, params)
        hidden = model.encode(fed["tokens"], fed["segments"], fed["types"])
        name = "lm" if "lm" in model.heads else "mlm"
        out = {"logits": model.heads[name](hidden, model.trunk.table)[..., :VOCAB]}
        if "nsp" in model.heads:
            out["nsp"] = model.heads["nsp"](model.heads["pooler"](hidden))
        return out

    return jax.tree.map(np.asarray, run(params))


def differences(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Name -> largest difference at real positions, in units of the logits' standard deviation."""
    real = batch()["segments"] != 0
    out = {}
    for name, want in expected.items():
        have = got[name]
        if have.ndim == 3:
            have, want = have[real], want[real]
        out[name] = float(np.abs(have - want).max() / want.std())
    return out
