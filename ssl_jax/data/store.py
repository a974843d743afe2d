# SPDX-License-Identifier: Apache-2.0
"""Reading a prepared store, from a disk by memory map or from gs:// and s3:// by ranged reads."""

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.files import cache_dir, sha256_of
from ssl_jax.data.remote import Remote, is_remote
from ssl_jax.data.writer import DTYPES
from ssl_jax.types import UserError

FORMAT = 1
SIDES = ("train", "heldout")
_VERIFIED_BELOW = 256 << 20  # bytes; a smaller store is hashed whenever it is opened (0.2 s)


class Damaged(UserError):
    """The store's files are not those that its manifest names."""


def digest_of(value: Any) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a store.  Raises Damaged (a UserError) where there is none that can be believed."""
    try:
        raw = (
            Remote(str(folder)).read("manifest.json") if is_remote(folder) else _read(folder, "manifest.json")
        )
        manifest = json.loads(raw)
        rest = {k: v for k, v in manifest.items() if k != "fingerprint"}
        whole = manifest["fingerprint"] == digest_of(rest)
    except FileNotFoundError as error:
        make = (
            "prepare into a folder of a disk, then copy it" if is_remote(folder) else "ssl-jax prepare RECIPE"
        )
        raise Damaged(f"{folder}: not a store (no manifest.json); make one: {make}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Damaged(f"{folder}: manifest.json is damaged; delete the folder and prepare again") from error
    if not whole:
        raise Damaged(f"{folder}: manifest.json was changed; delete the folder and prepare again")
    if manifest["format"] != FORMAT:
        what = f"is of format {manifest['format']}, this version reads {FORMAT}"
        raise Damaged(f"{folder}: the store {what}; delete it and prepare again")
    return manifest


def _read(folder: str | Path, name: str) -> bytes:
    return (Path(folder) / name).read_bytes()


def check_files(folder: Path, manifest: dict[str, Any], whole: bool = False) -> None:
    """Raises Damaged where a file's size, or with whole=True (or in a small store) its sha256, is wrong."""
    files = manifest["files"]
    small = sum(entry["bytes"] for entry in files.values()) < _VERIFIED_BELOW
    for name, entry in sorted(files.items()):
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != entry["bytes"]:
            found = "is missing" if size is None else f"has {size} bytes, not {entry['bytes']}"
            raise Damaged(f"{path}: {found}; delete {folder} and prepare again")
        if (whole or small) and sha256_of(path) != entry["sha256"]:
            raise Damaged(
                f"{path}: its bytes changed since it was written; delete {folder} and prepare again"
            )


@dataclass(frozen=True)
class Store:
    """One side of a corpus: the tokens of all its documents in a row, and where things begin.

    folder: the corpus; side: "train" or "heldout".  Opens nothing until it is asked; pickles as its place.
    """

    folder: str
    side: str
    manifest: dict[str, Any] = field(repr=False, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        return Store, (self.folder, self.side, self.manifest)

    @property
    def _entry(self) -> dict[str, Any]:
        return self.manifest[self.side]

    @property
    def num_documents(self) -> int:
        return self._entry["num_documents"]

    @property
    def num_tokens(self) -> int:
        return self._entry["num_tokens"]

    @property
    def num_sentences(self) -> int:
        return self._entry["num_sentences"]

    @cached_property
    def fingerprint(self) -> str:
        """Changes with any token, boundary, source or tokenizer of this side; not with where it lies."""
        return digest_of([self.manifest["tokenizer"], self.manifest["sources"], self.side, self._entry])

    @property
    def source_weights(self) -> tuple[tuple[str, float], ...]:
        return tuple((s["name"], s["weight"]) for s in self.manifest["sources"])

    @cached_property
    def doc_offsets(self) -> np.ndarray:
        """[N+1] int64: document d holds tokens doc_offsets[d] to doc_offsets[d + 1]."""
        return self._index("doc_offsets")

    @cached_property
    def doc_sentences(self) -> np.ndarray:
        """[N+1] int64: document d holds sentences doc_sentences[d] to doc_sentences[d + 1]."""
        return self._index("doc_sentences")

    @cached_property
    def sentence_offsets(self) -> np.ndarray:
        """[S+1] int64: sentence s holds tokens sentence_offsets[s] to sentence_offsets[s + 1]."""
        return self._index("sentence_offsets")

    @cached_property
    def doc_sources(self) -> np.ndarray:
        """[N] uint16: the number of each document's source in source_weights."""
        return self._index("doc_sources")

    def tokens(self, start: int, stop: int) -> np.ndarray:
        """Token ids start to stop of the side, [stop - start] int32."""
        width = np.dtype(self._entry["dtype"]).itemsize
        raw = self._bytes("tokens", start * width, stop * width)
        return raw.view(self._entry["dtype"]).astype(np.int32)

    def word_starts(self, start: int, stop: int) -> np.ndarray:
        """Whether a token begins a word, [stop - start] bool."""
        raw = self._bytes("word_starts", start // 8, -(-stop // 8))
        bits = np.unpackbits(raw, bitorder="little")
        return bits[start % 8 : start % 8 + stop - start].view(bool)

    def document(self, doc: int) -> np.ndarray:
        """The tokens of one document, [n] int32."""
        return self.tokens(int(self.doc_offsets[doc]), int(self.doc_offsets[doc + 1]))

    @cached_property
    def _remote(self) -> Remote | None:
        return Remote(self.folder) if is_remote(self.folder) else None

    def _bytes(self, name: str, start: int, stop: int) -> np.ndarray:
        if self._remote is None:
            return getattr(self, f"_{name}_map")[start:stop]
        return np.frombuffer(self._remote.read(f"{self.side}/{name}.bin", start, stop), np.uint8)

    @cached_property
    def _tokens_map(self) -> np.ndarray:
        return _map(Path(self.folder) / self.side / "tokens.bin", "<u1")

    @cached_property
    def _word_starts_map(self) -> np.ndarray:
        return _map(Path(self.folder) / self.side / "word_starts.bin", "<u1")

    def _index(self, name: str) -> np.ndarray:
        file = f"{self.side}/{name}.bin"
        if self._remote is None:
            path = Path(self.folder) / file
        else:  # plans read indices whole and at random: one local copy, checked by its sha256
            entry = self.manifest["files"][file]
            path = self._remote.download(file, entry["bytes"], entry["sha256"], cache_dir() / "remote")
        return _map(path, DTYPES[name])


def _map(path: Path, dtype: str) -> np.ndarray:
    if path.stat().st_size == 0:  # an empty file can't be mapped
        return np.zeros(0, dtype)
    return np.asarray(np.memmap(path, dtype=dtype, mode="r"))  # the subclass costs 40 % of a row's time
