# SPDX-License-Identifier: Apache-2.0
"""The models of `transformers` that our tiny ones must equal.  Imports torch only when called."""

from typing import Any

import numpy as np

from ssl_jax import models
from tests.models.tiny import FAMILIES, VOCAB, documents, made, types_of
from tests.objectives.fakes import TAGS
from tests.parity.names import NAMES

# Tied tensors: loading leaves them out, and tying fills them in.
TIED = ("cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "lm_head.weight", "decoder.weight")
NO_DROPOUT = {
    "bert": dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
    "gpt2": dict(embd_pdrop=0.0, attn_pdrop=0.0, resid_pdrop=0.0),
}


def _bert(config: models.BertConfig, name: str, **heads: Any) -> Any:
    """name: their class; heads: what its config says of the heads."""
    import transformers

    theirs = transformers.BertConfig(
        vocab_size=VOCAB,
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_dim,
        max_position_embeddings=config.max_positions,
        type_vocab_size=config.num_types or 2,
        pad_token_id=0,
        **NO_DROPOUT["bert"],
        **heads,
    )
    return getattr(transformers, name)(theirs)


def _gpt2(config: models.GptConfig) -> Any:
    import transformers

    theirs = transformers.GPT2Config(
        vocab_size=VOCAB,
        n_embd=config.dim,
        n_layer=config.num_layers,
        n_head=config.num_heads,
        n_inner=config.mlp_dim,
        n_positions=config.max_positions,
        bos_token_id=None,
        eos_token_id=None,
        **NO_DROPOUT["gpt2"],
    )
    return transformers.GPT2LMHeadModel(theirs)


def _modernbert(config: models.ModernConfig) -> Any:
    import transformers

    theirs = transformers.ModernBertConfig(
        vocab_size=VOCAB,
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        intermediate_size=config.mlp_dim,
        max_position_embeddings=config.max_positions,
        global_attn_every_n_layers=config.global_every,
        local_attention=config.local_window,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=None,
        cls_token_id=None,
        sep_token_id=None,
    )
    return transformers.ModernBertForMaskedLM(theirs)


def _qwen3(config: models.ModernConfig) -> Any:
    import transformers

    kinds = ("full_attention", "sliding_attention")
    theirs = transformers.Qwen3Config(
        vocab_size=VOCAB,
        hidden_size=config.dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        num_key_value_heads=config.num_kv_heads,
        head_dim=config.head_dim,
        intermediate_size=config.mlp_dim,
        max_position_embeddings=config.max_positions,
        rope_parameters={"rope_type": "default", "rope_theta": config.global_theta},
        tie_word_embeddings=True,
        use_sliding_window=True,
        sliding_window=config.local_window,
        layer_types=[kinds[layer % config.global_every != 0] for layer in range(config.num_layers)],
    )
    return transformers.Qwen3ForCausalLM(theirs)


BUILDERS = {
    "bert": lambda config: _bert(config, "BertForPreTraining"),
    "bert_mlm": lambda config: _bert(config, "BertForMaskedLM"),
    "bert_classes": lambda config: _bert(config, "BertForSequenceClassification", num_labels=3),
    "bert_number": lambda config: _bert(config, "BertForSequenceClassification", num_labels=1),
    "bert_tagging": lambda config: _bert(config, "BertForTokenClassification", num_labels=len(TAGS)),
    "bert_spans": lambda config: _bert(config, "BertForQuestionAnswering"),
    "gpt2": _gpt2,
    "modernbert": _modernbert,
    "qwen3": _qwen3,
}


def load(model: Any, state: dict[str, np.ndarray]) -> Any:
    """model with these tensors, all of them and no others, tied ones apart."""
    import torch

    tensors = {name: torch.from_numpy(np.array(value, np.float32)) for name, value in state.items()}
    keys = model.load_state_dict(tensors, strict=False)
    assert not keys.unexpected_keys, keys
    assert set(keys.missing_keys) <= set(TIED), keys
    model.tie_weights()
    return model


def peer(name: str) -> Any:
    """The `transformers` model of a family with our weights, in float32."""
    return load(BUILDERS[name](FAMILIES[name].config), NAMES[name](made(name)[1], VOCAB))


def peer_logits(name: str, *, padded: bool) -> dict[str, np.ndarray]:
    """As tiny.logits: [all tokens, V], and for BERT "nsp" [N, 2].

    padded: all documents in one batch with an attention mask; otherwise each is a batch of its own, without.
    """
    import torch

    model = peer(name).eval()
    groups = [documents()] if padded else [[document] for document in documents()]
    out = {"logits": [], "nsp": []}
    for group in groups:
        length = max(map(len, group))
        padding = lambda xs: torch.tensor(np.stack([np.pad(x, (0, length - len(x))) for x in xs]))  # noqa: B023
        inputs = {"input_ids": padding(group).long()}
        if padded:
            inputs["attention_mask"] = padding([np.ones(len(d), np.int64) for d in group])
        if name == "bert":
            inputs["token_type_ids"] = padding([types_of(d) for d in group]).long()
        with torch.no_grad():
            result = model(**inputs)
        logits = result.prediction_logits if name == "bert" else result.logits
        out["logits"] += [row[: len(d)] for row, d in zip(logits.numpy(), group, strict=True)]
        if name == "bert":
            out["nsp"].append(result.seq_relationship_logits.numpy())
    return {key: np.concatenate(value) for key, value in out.items() if value}
