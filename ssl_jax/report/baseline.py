# SPDX-License-Identifier: Apache-2.0
"""What a model that knows only how often each token occurs would score: the number to beat."""

from typing import Any

import numpy as np

CHUNK = 1 << 22  # tokens read at a time


def counts(store: Any, vocab_size: int, most: int) -> np.ndarray:
    """Occurrences of each token among the first `most` tokens of a store.  [V] int64."""
    total = np.zeros(vocab_size, np.int64)
    end = min(store.num_tokens, most)
    for start in range(0, end, CHUNK):
        total += np.bincount(store.tokens(start, min(start + CHUNK, end)), minlength=vocab_size)
    return total


def unigram_cross_entropy(train: Any, heldout: Any, vocab_size: int, most: int = 50_000_000) -> float:
    """Held-out cross entropy, nats a token, of the training side's add-one smoothed unigram distribution."""
    seen = counts(train, vocab_size, most) + 1.0
    log_p = np.log(seen) - np.log(seen.sum())
    wanted = counts(heldout, vocab_size, most)
    return float(-(wanted * log_p).sum() / max(1, wanted.sum()))
