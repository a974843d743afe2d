# SPDX-License-Identifier: Apache-2.0
"""Writes logits.npz: what `transformers` makes of the tiny models and documents of tests/models/tiny.py.

    python -m tests.golden.make_logits        # from the repository's root; needs torch and transformers

Only the logits are stored: weights and documents are drawn from fixed seeds.  Run it when tiny.py changes.
"""

import tempfile
from pathlib import Path

import numpy as np

from tests.hf.cases import exported
from tests.models.tiny import FAMILIES
from tests.parity.peers import opened, peer_outputs


def main() -> None:
    arrays = {}
    for name in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            outputs = peer_outputs(name, opened(exported(name, Path(folder) / "out")))
        arrays[f"{name}.logits"] = outputs["tokens"].astype(np.float32)
        if "nsp" in outputs:
            arrays[f"{name}.nsp"] = outputs["nsp"].astype(np.float32)
    np.savez_compressed(Path(__file__).parent / "logits.npz", **arrays)


if __name__ == "__main__":
    main()
