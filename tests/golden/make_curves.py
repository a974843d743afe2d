# SPDX-License-Identifier: Apache-2.0
"""Writes curves.npz: the 50 losses of each run of tests/parity/curve.py, by torch and `transformers`.

    python -m tests.golden.make_curves        # from the repository's root; needs torch and transformers

Weights, batches and settings are drawn from fixed seeds; of the batches a checksum is stored.
"""

from pathlib import Path

import numpy as np

from tests.parity.curve import CURVES, checksum
from tests.parity.torch_curve import torch_losses


def main() -> None:
    arrays = {}
    for name, curve in CURVES.items():
        arrays[f"{name}.checksum"] = np.uint32(checksum(curve))
        arrays.update({f"{name}.{key}": value for key, value in torch_losses(name).items()})
    np.savez_compressed(Path(__file__).parent / "curves.npz", **arrays)


if __name__ == "__main__":
    main()
