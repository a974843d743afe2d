# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that is there already: a directory that some config's `train` wrote."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ssl_jax.text import store
from ssl_jax.types import Progress


@dataclass(frozen=True, kw_only=True)
class TokenizerDir:
    """The `tokenizer/` folder of a workdir, as it is."""

    path: str

    @property
    def trains(self) -> bool:
        return False

    def train(self, texts: Iterable[str], out_dir: Path, progress: Progress | None = None) -> None:
        """Copies the directory to out_dir; texts are not read.  Raises UserError where it was damaged."""
        meta, files = store.read_dir(Path(self.path).expanduser())
        store.write_dir(out_dir, files, meta["kind"], meta["settings"])
