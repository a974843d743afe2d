# SPDX-License-Identifier: Apache-2.0
"""Peak memory and time of import and export, each a process of its own, on a model of GPT-2's shape.

    python benchmarks/export_memory.py                       # GPT-2 XL, 1.56 B parameters
    python benchmarks/export_memory.py --layers 2 --dim 64   # a try

The model is drawn and written by this project (float32), imported, and exported again.  An export may need,
above what an import of Python's packages takes, the largest shard, two of the largest leaf and 200 MB; the
last line says whether it did.  Takes three times the model's size on disk, removed at the end.
"""

import argparse
import filecmp
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from ssl_jax import hf
from ssl_jax.hf.model import shapes_of
from ssl_jax.models import GptConfig
from ssl_jax.objectives import NextToken
from ssl_jax.text import SentencePiece, load
from ssl_jax.types import Meta

VOCAB = 50_257
TEXT = "The quick brown fox jumps over the lazy dog. Pack my box with five dozen liquor jugs. "


def draw(folder: Path, layers: int, dim: int) -> dict[str, tuple[int, ...]]:
    """Writes a random model and a small tokenizer; returns the shapes of its leaves."""
    SentencePiece(vocab_size=300).train([TEXT * 20], folder / "tokenizer")
    meta = Meta(tokenizer=load(folder / "tokenizer"))
    config = GptConfig(num_layers=layers, dim=dim, num_heads=dim // 64 or 1, vocab_rows=VOCAB).bind(meta)
    shapes = shapes_of(config, NextToken().heads)
    rng = np.random.default_rng(0)
    model = hf.Outgoing(
        config=config,
        objective=NextToken(meta=meta),
        labels=(),
        specials=meta.tokenizer.specials,
        shapes=shapes,
        read=lambda names: {name: rng.standard_normal(shapes[name], np.float32) * 0.02 for name in names},
    )
    out = folder / "there"
    out.mkdir()
    model.write(out, dtype="float32", shard_size=5 * 10**9, progress=lambda *_: None)
    hf.export_tokenizer(
        folder / "tokenizer", out, template=hf.Template.DOCUMENT, max_length=1024, token_types=False
    )
    return shapes


def measured(*command: str) -> tuple[float, float]:
    """(seconds, peak resident bytes) of a command that must succeed."""
    begin = time.perf_counter()
    process = subprocess.Popen([sys.executable, *command], env=os.environ | {"JAX_PLATFORMS": "cpu"})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return time.perf_counter() - begin, usage.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--dim", type=int, default=1600)
    parser.add_argument("--folder", help="where the files go (default: the system's)")
    args = parser.parse_args()
    _, bare = measured("-c", "import ssl_jax.hub, jax; jax.devices()")
    print(f"imports alone: {bare / 1e6:,.0f} MB")
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        shapes = draw(folder, args.layers, args.dim)
        sizes = [4 * int(np.prod(shape)) for shape in shapes.values()]
        print(
            f"{sum(sizes) / 4e9:.3f} B parameters, {sum(sizes) / 1e6:,.0f} MB; "
            f"largest leaf {max(sizes) / 1e6:,.0f} MB"
        )
        run = ("-m", "ssl_jax")
        seconds, peak = measured(*run, "import", str(folder / "there"), str(folder / "workdir"))
        print(
            f"import: {seconds:.0f} s, peak {peak / 1e6:,.0f} MB, "
            f"{(peak - bare) / sum(sizes):.2f} of the model above imports"
        )
        seconds, peak = measured(*run, "export", str(folder / "workdir"), str(folder / "out"))
        shard = max(file.stat().st_size for file in (folder / "out").glob("*.safetensors"))
        allowed = shard + 2 * max(sizes) + 200e6
        print(
            f"export: {seconds:.0f} s, peak {peak / 1e6:,.0f} MB, {(peak - bare) / 1e6:,.0f} MB above imports"
        )
        print(
            f"allowed above imports: {allowed / 1e6:,.0f} MB: "
            f"{'kept' if peak - bare <= allowed else 'BROKEN'}"
        )
        there, again = ([file.name for file in (folder / f).glob("*.safetensors")] for f in ("there", "out"))
        same = sorted(there) == sorted(again) and all(
            filecmp.cmp(folder / "there" / name, folder / "out" / name, shallow=False) for name in there
        )
        print(f"weights that came back: {'identical, bit for bit' if same else 'DIFFERENT'}")


if __name__ == "__main__":
    main()
