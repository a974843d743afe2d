# SPDX-License-Identifier: Apache-2.0
"""Our parameters under transformers' names (torch: weights are [out, in]; GPT-2's Conv1D: [in, out])."""

import numpy as np

from tests.parity.cases import VOCAB


def out_in(kernel, inputs=1):
    """[*in, *out] -> [out, in]."""
    return kernel.reshape(int(np.prod(kernel.shape[:inputs])), -1).T


def state_of(family: str, params: dict) -> dict[str, np.ndarray]:
    return {"bert": _bert, "gpt": _gpt, "modernbert": _modernbert, "qwen": _qwen, "qwen_local": _qwen}[
        family
    ](params)


def _norm(prefix, norm):
    names = {"scale": "weight", "bias": "bias"}
    return {f"{prefix}.{names[name]}": value for name, value in norm.items()}


def _dense(prefix, part, inputs=1):
    out = {f"{prefix}.weight": out_in(part["kernel"], inputs)}
    return out | ({f"{prefix}.bias": part["bias"]} if "bias" in part else {})


def _layers(params):
    """Each layer's own tree."""
    blocks = params["trunk"]["stack"]["blocks"]

    def take(tree, i):
        return {k: take(v, i) if isinstance(v, dict) else v[i] for k, v in tree.items()}

    count = blocks["mlp_norm"]["scale"].shape[0]
    return [take(blocks, i) for i in range(count)]


def _bert(params):
    embeddings, heads = params["trunk"]["embeddings"], params["heads"]
    words = embeddings["tokens"][:VOCAB]
    out = {
        "bert.embeddings.word_embeddings.weight": words,
        "bert.embeddings.position_embeddings.weight": embeddings["positions"],
        "bert.embeddings.token_type_embeddings.weight": embeddings["types"],
        **_norm("bert.embeddings.LayerNorm", embeddings["norm"]),
        **_dense("bert.pooler.dense", heads["pooler"]["dense"]),
        **_dense("cls.predictions.transform.dense", heads["mlm"]["dense"]),
        **_norm("cls.predictions.transform.LayerNorm", heads["mlm"]["norm"]),
        "cls.predictions.bias": heads["mlm"]["bias"][:VOCAB],
        "cls.predictions.decoder.weight": words,
        "cls.predictions.decoder.bias": heads["mlm"]["bias"][:VOCAB],
        **_dense("cls.seq_relationship", heads["nsp"]),
    }
    for i, layer in enumerate(_layers(params)):
        prefix = f"bert.encoder.layer.{i}"
        for name in ("query", "key", "value"):
            out |= _dense(f"{prefix}.attention.self.{name}", layer["attention"][name])
        out |= _dense(f"{prefix}.attention.output.dense", layer["attention"]["out"], 2)
        out |= _norm(f"{prefix}.attention.output.LayerNorm", layer["attention_norm"])
        out |= _dense(f"{prefix}.intermediate.dense", layer["mlp"]["up"])
        out |= _dense(f"{prefix}.output.dense", layer["mlp"]["down"])
        out |= _norm(f"{prefix}.output.LayerNorm", layer["mlp_norm"])
    return out


def _gpt(params):
    trunk = params["trunk"]
    words = trunk["embeddings"]["tokens"][:VOCAB]
    out = {
        "transformer.wte.weight": words,
        "transformer.wpe.weight": trunk["embeddings"]["positions"],
        "lm_head.weight": words,
        **_norm("transformer.ln_f", trunk["stack"]["final_norm"]),
    }
    for i, layer in enumerate(_layers(params)):
        attention, mlp, prefix = layer["attention"], layer["mlp"], f"transformer.h.{i}"
        qkv = [attention[name] for name in ("query", "key", "value")]
        out |= {
            f"{prefix}.attn.c_attn.weight": np.concatenate([out_in(p["kernel"]) for p in qkv]).T,
            f"{prefix}.attn.c_attn.bias": np.concatenate([p["bias"] for p in qkv]),
            f"{prefix}.attn.c_proj.weight": out_in(attention["out"]["kernel"], 2).T,
            f"{prefix}.attn.c_proj.bias": attention["out"]["bias"],
            f"{prefix}.mlp.c_fc.weight": mlp["up"]["kernel"],
            f"{prefix}.mlp.c_fc.bias": mlp["up"]["bias"],
            f"{prefix}.mlp.c_proj.weight": mlp["down"]["kernel"],
            f"{prefix}.mlp.c_proj.bias": mlp["down"]["bias"],
            **_norm(f"{prefix}.ln_1", layer["attention_norm"]),
            **_norm(f"{prefix}.ln_2", layer["mlp_norm"]),
        }
    return out


def _modernbert(params):
    trunk, head = params["trunk"], params["heads"]["mlm"]
    words = trunk["embeddings"]["tokens"][:VOCAB]
    out = {
        "model.embeddings.tok_embeddings.weight": words,
        **_norm("model.embeddings.norm", trunk["embeddings"]["norm"]),
        **_norm("model.final_norm", trunk["stack"]["final_norm"]),
        **_dense("head.dense", head["dense"]),
        **_norm("head.norm", head["norm"]),
        "decoder.weight": words,
        "decoder.bias": head["bias"][:VOCAB],
    }
    for i, layer in enumerate(_layers(params)):
        attention, mlp, prefix = layer["attention"], layer["mlp"], f"model.layers.{i}"
        qkv = [out_in(attention[name]["kernel"]) for name in ("query", "key", "value")]
        out[f"{prefix}.attn.Wqkv.weight"] = np.concatenate(qkv)
        out |= _dense(f"{prefix}.attn.Wo", attention["out"], 2)
        out[f"{prefix}.mlp.Wi.weight"] = np.concatenate(
            [out_in(mlp[name]["kernel"]) for name in ("gate", "up")]
        )
        out |= _dense(f"{prefix}.mlp.Wo", mlp["down"])
        out |= _norm(f"{prefix}.mlp_norm", layer["mlp_norm"])
        if i:  # layer 0 has none: our scale there is never read
            out |= _norm(f"{prefix}.attn_norm", layer["attention_norm"])
    return out


def _qwen(params):
    trunk = params["trunk"]
    words = trunk["embeddings"]["tokens"][:VOCAB]
    out = {
        "model.embed_tokens.weight": words,
        "lm_head.weight": words,
        **_norm("model.norm", trunk["stack"]["final_norm"]),
    }
    for i, layer in enumerate(_layers(params)):
        attention, prefix = layer["attention"], f"model.layers.{i}"
        for name, theirs in (("query", "q"), ("key", "k"), ("value", "v")):
            out |= _dense(f"{prefix}.self_attn.{theirs}_proj", attention[name])
        out |= _dense(f"{prefix}.self_attn.o_proj", attention["out"], 2)
        out |= _norm(f"{prefix}.self_attn.q_norm", attention["query_norm"])
        out |= _norm(f"{prefix}.self_attn.k_norm", attention["key_norm"])
        for name in ("gate", "up", "down"):
            out |= _dense(f"{prefix}.mlp.{name}_proj", layer["mlp"][name])
        out |= _norm(f"{prefix}.input_layernorm", layer["attention_norm"])
        out |= _norm(f"{prefix}.post_attention_layernorm", layer["mlp_norm"])
    return out
