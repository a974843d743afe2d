# SPDX-License-Identifier: Apache-2.0
"""The models of `transformers` that ours must equal, loaded from our exports.  Torch is imported late."""

from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.objectives import Classification
from tests.hf.cases import CASES
from tests.models.tiny import documents, types_of

INFO = ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")


def opened(path: Path, **options: Any) -> Any:
    """The architecture that config.json names, in float32; every tensor must have found its place."""
    import json

    import torch
    import transformers

    (architecture,) = json.loads((path / "config.json").read_text())["architectures"]
    cls = getattr(transformers, architecture)
    model, info = cls.from_pretrained(path, output_loading_info=True, **dict(dtype=torch.float32) | options)
    assert not any(info[key] for key in INFO), info
    return model.eval()


def peer_outputs(name: str, model: Any, *, padded: bool = True) -> dict[str, np.ndarray]:
    """As cases.outputs.  padded: all documents in one batch with an attention mask; otherwise each is a batch
    of its own, without."""
    import torch

    case = CASES[name]
    groups = [documents()] if padded else [[document] for document in documents()]
    out: dict[str, list[np.ndarray]] = {}
    for group in groups:
        length = max(map(len, group))
        padding = lambda xs: torch.tensor(np.stack([np.pad(x, (0, length - len(x))) for x in xs]))  # noqa: B023
        inputs = {"input_ids": padding(group).long()}
        if padded:
            inputs["attention_mask"] = padding([np.ones(len(d), np.int64) for d in group])
        if getattr(case.config, "num_types", 0) > 1:
            inputs["token_type_ids"] = padding([types_of(d) for d in group]).long()
        with torch.no_grad():
            result = model(**inputs)
        for key, value in _named(case, result).items():
            value = value.float().numpy()
            if key in ("tokens", "states"):
                value = np.concatenate([row[: len(d)] for row, d in zip(value, group, strict=True)])
            out.setdefault(key, []).append(value)
    return {key: np.concatenate(value) for key, value in out.items()}


def _named(case: Any, result: Any) -> dict[str, Any]:
    if "prediction_logits" in result:
        return {"tokens": result.prediction_logits, "nsp": result.seq_relationship_logits}
    if "start_logits" in result:
        import torch

        return {"tokens": torch.stack([result.start_logits, result.end_logits], dim=-1)}
    if case.objective is None:
        pooled = result.get("pooler_output")
        return {"states": result.last_hidden_state, **({} if pooled is None else {"pooled": pooled})}
    return {"logits" if isinstance(case.objective, Classification) else "tokens": result.logits}
