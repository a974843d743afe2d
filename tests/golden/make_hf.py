# SPDX-License-Identifier: Apache-2.0
"""Writes hf.json and hf.npz: what `transformers` makes of the exports of tests/hf/cases.py.

    python -m tests.golden.make_hf            # from the repository's root; needs torch and transformers

hf.json: for each case the config.json that transformers saves, and of each tensor in its own state dict the
shape and a checksum.  hf.npz: the outputs of the heads that logits.npz doesn't have.  Weights and documents are
drawn from fixed seeds.
"""

import json
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tests.hf.cases import CASES, exported
from tests.parity.opened import opened, peer_outputs

HERE = Path(__file__).parent


def checksum(value: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(value, np.float32).tobytes())


def main() -> None:
    from safetensors.numpy import load_file

    known, outputs = {}, {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as folder:
            model = opened(exported(name, Path(folder) / "ours"))
            model.save_pretrained(Path(folder) / "theirs")
            config = json.loads((Path(folder) / "theirs" / "config.json").read_text())
            del config["transformers_version"]
            tensors = load_file(Path(folder) / "theirs" / "model.safetensors")
        known[name] = {
            "config": config,
            "tensors": {key: [list(value.shape), checksum(value)] for key, value in sorted(tensors.items())},
        }
        for key, value in peer_outputs(name, model).items():
            if key in ("logits", "nsp", "pooled"):
                outputs[f"{name}.{key}"] = value.astype(np.float32)
            else:  # a vector a token: the first few of each
                outputs[f"{name}.{key}"] = value[:, :8].astype(np.float32)
    lines = (f"{json.dumps(name)}: {json.dumps(case, sort_keys=True)}" for name, case in known.items())
    (HERE / "hf.json").write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    np.savez_compressed(HERE / "hf.npz", **outputs)


if __name__ == "__main__":
    main()
