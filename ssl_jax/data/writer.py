# SPDX-License-Identifier: Apache-2.0
"""Writing one side of a store: files that grow, hash what they get, and can be cut back to a known point."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.files import CHUNK, fsync_dir

DTYPES = {  # the files of one side, all little-endian; tokens.bin is <u2 where the vocabulary allows it
    "doc_offsets": "<i8",  # [N+1] a document's first token
    "doc_sentences": "<i8",  # [N+1] a document's first sentence
    "doc_sources": "<u2",  # [N]
    "sentence_offsets": "<i8",  # [S+1] a sentence's first token; last: the number of tokens
}


def token_dtype(vocab_size: int) -> str:
    return "<u2" if vocab_size <= 65536 else "<u4"


class Torn(Exception):
    """What lies on the disk is not what the journal promised."""


class HashedFile:
    """An append-only file that knows its size and sha256.  state: continue from such a point."""

    def __init__(self, path: Path, state: Sequence[Any] | None = None):
        self._digest = hashlib.sha256()
        self.size = 0
        if state is None:
            self._file = path.open("wb")
            return
        if not path.is_file() or path.stat().st_size < state[0]:
            raise Torn(path)
        self._file = path.open("r+b")
        while self.size < state[0]:
            chunk = self._file.read(min(CHUNK, state[0] - self.size))
            self._digest.update(chunk)
            self.size += len(chunk)
        if self._digest.hexdigest() != state[1]:
            self._file.close()
            raise Torn(path)
        self._file.truncate(self.size)
        self._file.seek(self.size)

    def write(self, array: np.ndarray) -> None:
        data = np.ascontiguousarray(array).tobytes()
        self._digest.update(data)
        self._file.write(data)
        self.size += len(data)

    def sync(self) -> list[Any]:
        """Puts everything on the disk; returns the state."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return [self.size, self._digest.hexdigest()]

    def close(self) -> None:
        self._file.close()


class SideWriter:
    """Appends encoded documents to the files of one side (see DTYPES, tokens.bin and word_starts.bin)."""

    def __init__(self, folder: Path, dtype: str, state: dict[str, Any] | None = None):
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._dtype = folder, dtype
        files = state["files"] if state else {}
        names = ("tokens", "word_starts", *DTYPES)
        self._files = {n: HashedFile(folder / f"{n}.bin", files.get(n)) for n in names}
        if state:
            self.documents, self.tokens, self.sentences = (
                state["documents"],
                state["tokens"],
                state["sentences"],
            )
            self._bits = np.array([bit == "1" for bit in state["bits"]], bool)
        else:
            self.documents = self.tokens = self.sentences = 0
            self._bits = np.zeros(0, bool)  # word starts that don't fill a byte yet
            self._write("doc_offsets", [0])
            self._write("doc_sentences", [0])

    def append(self, docs: Sequence[Any], sources: np.ndarray) -> None:
        """docs: `text.EncodedDoc`s; sources [len(docs)]: the number of each one's source."""
        if not docs:
            return
        lengths = np.array([len(d.tokens) for d in docs], np.int64)
        sentences = np.array([len(d.sentence_starts) for d in docs], np.int64)
        ends = self.tokens + np.cumsum(lengths)
        self._files["tokens"].write(np.concatenate([d.tokens for d in docs]).astype(self._dtype))
        bits = np.concatenate([self._bits, *[d.word_starts for d in docs]])
        whole = len(bits) // 8 * 8
        self._files["word_starts"].write(np.packbits(bits[:whole], bitorder="little"))
        self._bits = bits[whole:]
        starts = np.concatenate([d.sentence_starts for d in docs]) + np.repeat(ends - lengths, sentences)
        self._write("sentence_offsets", starts)
        self._write("doc_offsets", ends)
        self._write("doc_sentences", self.sentences + np.cumsum(sentences))
        self._write("doc_sources", sources)
        self.documents += len(docs)
        self.tokens = int(ends[-1])
        self.sentences += int(sentences.sum())

    def sync(self) -> dict[str, Any]:
        """Puts everything on the disk; returns the state from which writing can go on."""
        return {
            "files": {name: file.sync() for name, file in self._files.items()},
            "documents": self.documents,
            "tokens": self.tokens,
            "sentences": self.sentences,
            "bits": "".join("1" if bit else "0" for bit in self._bits),
        }

    def finish(self) -> dict[str, Any]:
        """The last entries, and this side's part of the manifest."""
        self._write("sentence_offsets", [self.tokens])
        self._files["word_starts"].write(np.packbits(self._bits, bitorder="little"))
        state = self.sync()
        self.close()
        fsync_dir(self._folder)
        return {
            "num_documents": self.documents,
            "num_tokens": self.tokens,
            "num_sentences": self.sentences,
            "dtype": self._dtype,
            "files": {f"{n}.bin": {"bytes": s, "sha256": h} for n, (s, h) in sorted(state["files"].items())},
        }

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def _write(self, name: str, values: Any) -> None:
        self._files[name].write(np.asarray(values).astype(DTYPES[name]))
