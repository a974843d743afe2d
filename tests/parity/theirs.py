# SPDX-License-Identifier: Apache-2.0
"""transformers' logits for a case (needs torch)."""

import numpy as np

from tests.parity.cases import Case, batch, model_of
from tests.parity.hf_names import state_of


def theirs(case: Case) -> dict[str, np.ndarray]:
    """Name -> logits, float32.  Raises where a weight of either side has no counterpart."""
    import torch
    import transformers

    config = getattr(transformers, case.hf_config)(**dict(case.hf), attn_implementation="eager")
    model = getattr(transformers, case.hf_class)(config).eval().float()
    state = {
        name: torch.tensor(np.array(x)) for name, x in state_of(case.name, model_of(case.name)[1]).items()
    }
    buffers = {name for name, _ in model.named_buffers()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and not set(missing) - buffers, (missing, unexpected)
    fed = {name: torch.tensor(x, dtype=torch.long) for name, x in batch().items()}
    given = {"input_ids": fed["tokens"], "attention_mask": fed["segments"]}
    if case.pairs:
        given["token_type_ids"] = fed["types"]
    with torch.no_grad():
        out = model(**given)
    if case.pairs:
        return {"logits": out.prediction_logits.numpy(), "nsp": out.seq_relationship_logits.numpy()}
    return {"logits": out.logits.numpy()}
