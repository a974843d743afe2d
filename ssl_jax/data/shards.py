# SPDX-License-Identifier: Apache-2.0
"""A corpus cut into shards, and the files that hold their documents encoded.

Where shards begin and end depends on the listing of the inputs alone, so every machine cuts alike.  A shard
is small inputs together or a piece of a large one; its file is there whole or not at all.
"""

import json
import os
import socket
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.build import Batch, batches
from ssl_jax.data.files import fsync_dir
from ssl_jax.data.readers import Bad, Input
from ssl_jax.data.sources import Opened
from ssl_jax.text import EncodedDoc
from ssl_jax.types import UserError

# Characters of a shard, about: a 1024th of the corpus, within these bounds.
SMALLEST, LARGEST = 1 << 23, 1 << 28
# Each piece of a file reads the file from its start (a compressed one can't be entered in the middle).
_PIECES = 64
_COUNTS = ("characters", "unknown", "byte_fallback", "sampled_characters", "sampled_lost")


@dataclass(frozen=True)
class Shard:
    """Inputs of one source (by its number) that follow each other."""

    source: int
    inputs: tuple[Input, ...]

    @property
    def size(self) -> float:
        return sum(item.size for item in self.inputs)

    def batches(self) -> Iterator[Batch]:
        return batches([Opened(name="", weight=1.0, inputs=self.inputs)], (0, 0, 0))


def cut(sources: Sequence[Opened]) -> list[Shard]:
    """The shards of a corpus: their records one after the other are those of the sources."""
    total = sum(item.size for source in sources for item in source.inputs)
    wanted = min(max(total / 1024, SMALLEST), LARGEST)
    shards: list[Shard] = []
    for number, source in enumerate(sources):
        group: list[Input] = []
        size = 0.0
        for item in source.inputs:
            pieces = min(_PIECES, round(item.size / wanted))
            if group and (pieces > 1 or size >= wanted):
                shards.append(Shard(number, tuple(group)))
                group, size = [], 0.0
            if pieces > 1:
                shards += [Shard(number, (piece,)) for piece in item.cut(pieces)]
            else:
                group.append(item)
                size += item.size
        if group:
            shards.append(Shard(number, tuple(group)))
    return shards


def path_of(folder: Path, number: int) -> Path:
    return folder / f"{number:06}.npz"


def is_whole(folder: Path, number: int, key: str) -> bool:
    """Whether a shard's file is there and made of what the key stands for."""
    try:
        with np.load(path_of(folder, number), allow_pickle=False) as file:
            return str(file["key"]) == key
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return False


def write(folder: Path, number: int, key: str, encoded: Iterable[Batch], dtype: str) -> None:
    """Writes a shard's file, a batch at a time; of several that write the same one, the last one's stays.

    encoded: batches whose documents are encoded; dtype: of the tokens.
    """
    path = path_of(folder, number)
    temporary = path.with_name(f"{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as raw:
            with zipfile.ZipFile(raw, "w") as file:
                count = 0
                for batch in encoded:
                    for name, array in _arrays(batch, dtype).items():
                        _add(file, f"{count}/{name}", array)
                    count += 1
                _add(file, "batches", np.array(count))
                _add(file, "key", np.array(key))
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_dir(folder)


def read(folder: Path, shards: Sequence[Shard], start: tuple[int, int, int]) -> Iterator[Batch]:
    """The batches of all shards' files in order, encoded; start: (shard, batch, 0), a batch's `next`.

    A damaged file (each array has a checksum) is removed.  Raises UserError that says so.
    """
    done = 0.0
    for number, shard in enumerate(shards):
        if number >= start[0]:
            path = path_of(folder, number)
            try:
                with np.load(path, allow_pickle=False) as file:
                    for b in range(start[1] if number == start[0] else 0, int(file["batches"])):
                        bad = [Bad(*fields) for fields in json.loads(file[f"{b}/bad"].tobytes())]
                        documents, keys = list(_documents(file, b)), file[f"{b}/keys"]
                        seconds = float(file[f"{b}/seconds"])
                        yield Batch(documents, keys, shard.source, bad, (number, b + 1, 0), done, seconds)
            except (zipfile.BadZipFile, ValueError, KeyError) as error:
                path.unlink()
                what = f"was damaged ({error}) and is removed; prepare its part again, then publish"
                raise UserError(f"{path} {what}") from error
        done += shard.size


def _arrays(batch: Batch, dtype: str) -> dict[str, np.ndarray]:
    docs = batch.documents

    def joined(name: str, dtype: Any) -> np.ndarray:
        return np.concatenate([np.zeros(0, dtype), *(getattr(d, name) for d in docs)]).astype(dtype)

    lengths = [(len(d.tokens), len(d.sentence_starts)) for d in docs]
    counts = [[getattr(d, name) for name in _COUNTS] for d in docs]
    bad = [[b.file, b.offset, b.reason, b.line, b.unit] for b in batch.bad]
    return {
        "keys": batch.keys,
        "seconds": np.array(batch.seconds),
        "bad": np.frombuffer(json.dumps(bad).encode(), np.uint8),
        "tokens": joined("tokens", dtype),
        "word_starts": np.packbits(joined("word_starts", bool), bitorder="little"),
        "sentence_starts": joined("sentence_starts", np.int64),
        "lengths": np.array(lengths, np.int64).reshape(-1, 2),
        "counts": np.array(counts, np.int64).reshape(-1, len(_COUNTS)),
    }


def _documents(file: Any, b: int) -> Iterator[EncodedDoc]:
    tokens, sentences = file[f"{b}/tokens"].astype(np.int32), file[f"{b}/sentence_starts"]
    words = np.unpackbits(file[f"{b}/word_starts"], count=len(tokens), bitorder="little").view(bool)
    ends = np.cumsum(file[f"{b}/lengths"], axis=0).tolist()
    token = sentence = 0
    for (last, last_sentence), counts in zip(ends, file[f"{b}/counts"].tolist()):
        text = tokens[token:last], sentences[sentence:last_sentence], words[token:last]
        yield EncodedDoc(*text, **dict(zip(_COUNTS, counts)))
        token, sentence = last, last_sentence


def _add(file: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    with file.open(f"{name}.npy", "w", force_zip64=True) as out:
        np.lib.format.write_array(out, array, allow_pickle=False)
