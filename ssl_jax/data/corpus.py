# SPDX-License-Identifier: Apache-2.0
"""A prepared corpus: the tokenizer, the two sides, and what preparing found."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl_jax import text as text_lib
from ssl_jax.data.files import cache_dir
from ssl_jax.data.remote import Remote, is_remote
from ssl_jax.data.store import SIDES, Store, check_files, read_manifest
from ssl_jax.types import Tokenizer, UserError


@dataclass(frozen=True)
class Corpus:
    """What `prepare` and `open_corpus` return.  dir: its folder or URL."""

    dir: str
    manifest: dict[str, Any] = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """sha256 of the manifest: of every file, the tokenizer and the settings, but not of place or time."""
        return self.manifest["fingerprint"]

    labels, texts = (), None  # one text, no label: nothing that a model must remember

    @cached_property
    def train(self) -> Store:
        return Store(self.dir, "train", self.manifest)

    @cached_property
    def heldout(self) -> Store:
        return Store(self.dir, "heldout", self.manifest)

    @cached_property
    def tokenizer_dir(self) -> Path:
        """The tokenizer's files on this machine (a copy in the cache where the corpus is remote)."""
        if not is_remote(self.dir):
            return Path(self.dir) / "tokenizer"
        remote = Remote(self.dir)
        folder = cache_dir() / "remote" / f"tokenizer-{self.manifest['tokenizer']}"
        for name, entry in self.manifest["files"].items():
            if name.startswith("tokenizer/"):
                copy = remote.download(name, entry["bytes"], entry["sha256"], cache_dir() / "remote")
                target = folder / name.removeprefix("tokenizer/")
                target.parent.mkdir(parents=True, exist_ok=True)
                if not target.is_file():
                    target.hardlink_to(copy)
        return folder

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return text_lib.load(self.tokenizer_dir)

    @cached_property
    def report(self) -> dict[str, Any]:
        """What preparing counted; empty where report.json is gone (it is no part of the fingerprint)."""
        try:
            if is_remote(self.dir):
                return json.loads(Remote(self.dir).read("report.json"))
            return json.loads((Path(self.dir) / "report.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return {}

    def report_text(self) -> str:
        from ssl_jax.data.report import text_of

        return text_of(self.report, self.dir)

    def verify(self) -> None:
        """Hashes every file.  Raises `Damaged` (a UserError) that names the first one that changed."""
        if is_remote(self.dir):
            raise UserError(f"{self.dir}: only a local store can be hashed; copy it, then verify the copy")
        check_files(Path(self.dir), self.manifest, whole=True)


def open_corpus(place: str | Path) -> Corpus:
    """Opens a prepared corpus.  Raises `Damaged` (a UserError) where its files are not what it says.

    Sizes are checked always; the sha256 of every file where they hold less than 256 MB together (larger
    ones: `Corpus.verify`), and of the index files where the corpus is remote.
    """
    manifest = read_manifest(place)
    if not is_remote(place):
        check_files(Path(place), manifest)
    assert all(side in manifest for side in SIDES)
    return Corpus(str(place), manifest)
