# SPDX-License-Identifier: Apache-2.0
"""Writes logits.npz: what `transformers` makes of the tiny models and documents of tests/models/tiny.py.

    python -m tests.golden.make_logits        # from the repository's root; needs torch and transformers

Only the logits are stored: weights and documents are drawn from fixed seeds.  Run it when tiny.py changes.
"""

from pathlib import Path

import numpy as np

from tests.models.tiny import FAMILIES
from tests.parity.peers import peer_logits


def main() -> None:
    arrays = {
        f"{name}.{key}": value.astype(np.float32)
        for name in FAMILIES
        for key, value in peer_logits(name, padded=True).items()
    }
    np.savez_compressed(Path(__file__).parent / "logits.npz", **arrays)


if __name__ == "__main__":
    main()
