# SPDX-License-Identifier: Apache-2.0
"""Our parameters under the names, and in the shapes, of `transformers`' state dicts (5.23, PyTorch).

Each function takes the pure dict of a model (layers stacked on the leading axis) and the true vocabulary size
V, and returns name -> array of every tensor that the class stores.  A torch Linear is [out, in], so kernels
are transposed; GPT-2's Conv1D is [in, out], as ours.  Tied tensors have one name.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Params = dict[str, Any]
State = dict[str, np.ndarray]


def _layers(params: Params) -> list[Params]:
    """The stack's blocks, a tree each."""
    blocks = params["trunk"]["stack"]["blocks"]
    count = len(jax.tree.leaves(blocks)[0])
    return [jax.tree.map(lambda leaf: leaf[i], blocks) for i in range(count)]  # noqa: B023


def _kernel(module: Params, *, heads: str = "") -> np.ndarray:
    """[in, out]; heads says which side of a 3-D kernel they are on ("in" or "out")."""
    kernel = module["kernel"]
    shapes = {"": kernel.shape, "in": (-1, kernel.shape[-1]), "out": (kernel.shape[0], -1)}
    return kernel.reshape(shapes[heads])


def _linear(name: str, module: Params, *, heads: str = "") -> State:
    state = {f"{name}.weight": _kernel(module, heads=heads).T}
    return state | ({f"{name}.bias": module["bias"]} if "bias" in module else {})


def _norm(name: str, module: Params) -> State:
    state = {f"{name}.weight": module["scale"]}
    return state | ({f"{name}.bias": module["bias"]} if "bias" in module else {})


def bert(params: Params, vocab_size: int) -> State:
    """BertForPreTraining; BertForMaskedLM where there is no pooler; by its heads BertForTokenClassification,
    BertForSequenceClassification or BertForQuestionAnswering.

    Without segment types the one type that BERT must have is a row of zeros.
    """
    embeddings, heads = params["trunk"]["embeddings"], params["heads"]
    width = embeddings["tokens"].shape[1]
    state = {
        "bert.embeddings.word_embeddings.weight": embeddings["tokens"][:vocab_size],
        "bert.embeddings.position_embeddings.weight": embeddings["positions"],
        "bert.embeddings.token_type_embeddings.weight": embeddings.get("types", np.zeros((1, width), "f4")),
        **_norm("bert.embeddings.LayerNorm", embeddings["norm"]),
    }
    if "mlm" in heads:
        state |= _linear("cls.predictions.transform.dense", heads["mlm"]["dense"])
        state |= _norm("cls.predictions.transform.LayerNorm", heads["mlm"]["norm"])
        state["cls.predictions.bias"] = heads["mlm"]["bias"][:vocab_size]
    if "classifier" in heads:
        state |= _linear("classifier", heads["classifier"])
    if "span" in heads:
        state |= _linear("qa_outputs", heads["span"])
    if "pooler" in heads:
        state |= _linear("bert.pooler.dense", heads["pooler"]["dense"])
    if "nsp" in heads:
        state |= _linear("cls.seq_relationship", heads["nsp"])
    for n, block in enumerate(_layers(params)):
        at = f"bert.encoder.layer.{n}"
        attention, mlp = block["attention"], block["mlp"]
        for part in ("query", "key", "value"):
            state |= _linear(f"{at}.attention.self.{part}", attention[part], heads="out")
        state |= _linear(f"{at}.attention.output.dense", attention["out"], heads="in")
        state |= _norm(f"{at}.attention.output.LayerNorm", block["attention_norm"])
        state |= _linear(f"{at}.intermediate.dense", mlp["up"])
        state |= _linear(f"{at}.output.dense", mlp["down"])
        state |= _norm(f"{at}.output.LayerNorm", block["mlp_norm"])
    return state


def gpt2(params: Params, vocab_size: int) -> State:
    """GPT2LMHeadModel."""
    trunk = params["trunk"]
    state = {
        "transformer.wte.weight": trunk["embeddings"]["tokens"][:vocab_size],
        "transformer.wpe.weight": trunk["embeddings"]["positions"],
        **_norm("transformer.ln_f", trunk["stack"]["final_norm"]),
    }

    def conv(name: str, module: Params, *, heads: str = "") -> State:
        return {f"{name}.weight": _kernel(module, heads=heads), f"{name}.bias": module["bias"]}

    for n, block in enumerate(_layers(params)):
        at = f"transformer.h.{n}"
        attention, mlp = block["attention"], block["mlp"]
        fused = [attention[part] for part in ("query", "key", "value")]
        state |= _norm(f"{at}.ln_1", block["attention_norm"])
        state[f"{at}.attn.c_attn.weight"] = np.concatenate([_kernel(m, heads="out") for m in fused], axis=1)
        state[f"{at}.attn.c_attn.bias"] = np.concatenate([m["bias"] for m in fused])
        state |= conv(f"{at}.attn.c_proj", attention["out"], heads="in")
        state |= _norm(f"{at}.ln_2", block["mlp_norm"])
        state |= conv(f"{at}.mlp.c_fc", mlp["up"])
        state |= conv(f"{at}.mlp.c_proj", mlp["down"])
    return state


def modernbert(params: Params, vocab_size: int) -> State:
    """ModernBertForMaskedLM.  Layer 0's norm before attention, which ours never uses, has no name."""
    trunk, head = params["trunk"], params["heads"]["mlm"]
    state = {
        "model.embeddings.tok_embeddings.weight": trunk["embeddings"]["tokens"][:vocab_size],
        **_norm("model.embeddings.norm", trunk["embeddings"]["norm"]),
        **_norm("model.final_norm", trunk["stack"]["final_norm"]),
        **_linear("head.dense", head["dense"]),
        **_norm("head.norm", head["norm"]),
        "decoder.bias": head["bias"][:vocab_size],
    }
    for n, block in enumerate(_layers(params)):
        at = f"model.layers.{n}"
        attention, mlp = block["attention"], block["mlp"]
        fused = [_kernel(attention[part], heads="out").T for part in ("query", "key", "value")]
        state[f"{at}.attn.Wqkv.weight"] = np.concatenate(fused)
        state |= _linear(f"{at}.attn.Wo", attention["out"], heads="in")
        state[f"{at}.mlp.Wi.weight"] = np.concatenate([_kernel(mlp[part]).T for part in ("gate", "up")])
        state |= _linear(f"{at}.mlp.Wo", mlp["down"])
        state |= _norm(f"{at}.mlp_norm", block["mlp_norm"])
        if n:
            state |= _norm(f"{at}.attn_norm", block["attention_norm"])
    return state


def qwen3(params: Params, vocab_size: int) -> State:
    """Qwen3ForCausalLM with tied embeddings."""
    trunk = params["trunk"]
    state = {
        "model.embed_tokens.weight": trunk["embeddings"]["tokens"][:vocab_size],
        **_norm("model.norm", trunk["stack"]["final_norm"]),
    }
    for n, block in enumerate(_layers(params)):
        at = f"model.layers.{n}"
        attention, mlp = block["attention"], block["mlp"]
        state |= _norm(f"{at}.input_layernorm", block["attention_norm"])
        for part, theirs in (("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj")):
            state |= _linear(f"{at}.self_attn.{theirs}", attention[part], heads="out")
        state |= _norm(f"{at}.self_attn.q_norm", attention["query_norm"])
        state |= _norm(f"{at}.self_attn.k_norm", attention["key_norm"])
        state |= _linear(f"{at}.self_attn.o_proj", attention["out"], heads="in")
        state |= _norm(f"{at}.post_attention_layernorm", block["mlp_norm"])
        for part in ("gate", "up", "down"):
            state |= _linear(f"{at}.mlp.{part}_proj", mlp[part])
    return state


NAMES: dict[str, Callable[[Params, int], State]] = {
    "bert": bert,
    "bert_mlm": bert,
    "bert_classes": bert,
    "bert_number": bert,
    "bert_tagging": bert,
    "bert_spans": bert,
    "gpt2": gpt2,
    "modernbert": modernbert,
    "qwen3": qwen3,
}
