# SPDX-License-Identifier: Apache-2.0
"""Our parameters under the names, and in the shapes, of `transformers`' state dicts: by the tables of hf/.

tests/parity/test_hf.py holds these tables against `transformers` itself.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from ssl_jax.hf import bert, gpt2, modern, writing
from ssl_jax.hf.families import Family, Use
from tests.hf.cases import flat

State = dict[str, np.ndarray]


def tensors(family: Family, use: Use, params: Any, vocab_size: int) -> State:
    """params: the pure dict of a model; vocab_size: the true one.  Tied tensors have one name."""
    leaves = flat(params)
    plan = writing.stored(family, use, {name: leaf.shape for name, leaf in leaves.items()}, vocab_size)
    values = writing.values(plan, lambda names: {name: leaves[name] for name in names})
    return {tensor.name: np.array(value) for tensor, value in zip(plan, values, strict=True)}


NAMES: dict[str, Callable[[Any, int], State]] = {
    "bert": functools.partial(tensors, bert.BERT, Use.PRETRAINING),
    "bert_mlm": functools.partial(tensors, bert.BERT, Use.MASKED),
    "bert_classes": functools.partial(tensors, bert.BERT, Use.CLASSES),
    "bert_number": functools.partial(tensors, bert.BERT, Use.CLASSES),
    "bert_spans": functools.partial(tensors, bert.BERT, Use.SPANS),
    "bert_tagging": functools.partial(tensors, bert.BERT, Use.TAGS),
    "gpt2": functools.partial(tensors, gpt2.GPT2, Use.NEXT),
    "modernbert": functools.partial(tensors, modern.MODERNBERT, Use.MASKED),
    "qwen3": functools.partial(tensors, modern.QWEN3, Use.NEXT),
}
