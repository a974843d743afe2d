# SPDX-License-Identifier: Apache-2.0
"""A directory of `transformers` and a workdir without a training run: for tests of the commands."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from ssl_jax import hf, nn, text
from ssl_jax.models import BertConfig, GptConfig, TextConfig
from ssl_jax.objectives import BertPretraining, Classification, MaskedLm, NextToken, Tagging
from ssl_jax.types import Meta, Objective, Specials
from tests.end_to_end.runs import documents
from tests.hf.cases import flat
from tests.models.tiny import drawn

CLASSES = ("no", "yes", "perhaps")
SMALL = dict(num_layers=1, dim=24, num_heads=2, mlp_dim=40, max_positions=32)
NETWORKS: dict[str, tuple[TextConfig, Objective | None]] = {
    "bert": (BertConfig(**SMALL), BertPretraining()),
    "masked": (BertConfig(**SMALL), MaskedLm()),
    "gpt2": (GptConfig(**SMALL), NextToken()),
    "gpt2_trunk": (GptConfig(**SMALL), None),
    "classes": (BertConfig(**SMALL), Classification()),
    "tags": (BertConfig(**SMALL), Tagging()),
}


def tokenizer(folder: Path) -> Path:
    """sentencepiece, 300 pieces."""
    text.SentencePiece(vocab_size=300).train(documents(60), folder)
    return folder


def directory(
    name: str, tokenizer_dir: Path, out: Path, labels: tuple[str, ...] = (), spare: int = 0
) -> Path:
    """A network of NETWORKS, freshly drawn, as `transformers` has it, in float32.  spare: rows of its tables
    that no token has."""
    config, objective = NETWORKS[name]
    labels = CLASSES if name in ("classes", "tags") else ()
    meta = Meta(tokenizer=text.load(tokenizer_dir), labels=labels)
    rows = meta.vocab_size + spare if spare else None
    config = dataclasses.replace(config, vocab_rows=rows).bind(meta)
    objective = objective and dataclasses.replace(objective, meta=meta)
    leaves = network_leaves(config, objective)
    model = outgoing(config, objective, labels, meta.tokenizer.specials, leaves)
    out.mkdir()
    model.write(out, dtype="float32", shard_size=10**9, progress=lambda *_: None)
    hf.export_tokenizer(
        tokenizer_dir,
        out,
        template=model.template,
        max_length=config.max_positions,
        token_types=not name.startswith("gpt2"),
    )
    return out


def network_leaves(config: Any, objective: Any) -> dict[str, np.ndarray]:
    def params():
        rngs = nnx.Rngs(0)
        trunk = config.build(rngs)
        return nn.split(nn.Model(trunk, objective.heads(trunk, rngs) if objective else {}))[1]

    leaves = flat(drawn(jax.eval_shape(params)))
    for leaf in leaves.values():
        if leaf.shape[0] == config.spec().padded_vocab:
            leaf[config.spec().vocab_size :] = 0
    return leaves


def outgoing(
    config: Any, objective: Any, labels: tuple[str, ...], specials: Specials, leaves: dict[str, np.ndarray]
) -> hf.Outgoing:
    return hf.Outgoing(
        config=config,
        objective=objective,
        labels=labels,
        specials=specials,
        shapes={leaf: value.shape for leaf, value in leaves.items()},
        read=lambda names: {leaf: leaves[leaf] for leaf in names},
    )
