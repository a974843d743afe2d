# SPDX-License-Identifier: Apache-2.0
"""Building a store: read ahead, encode, append; a journal from which a killed build goes on.

The store's bytes are those of its documents in the order of the inputs, so they do not depend on how the
documents were batched nor on where a build was interrupted.  The journal promises sizes and hashes of what
is on the disk; what lies behind them is cut off when the build goes on.
"""

import contextlib
import json
import os
import queue
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssl_jax.data.files import write_json
from ssl_jax.data.readers import Bad
from ssl_jax.data.report import Counts
from ssl_jax.data.sources import Opened
from ssl_jax.data.split import KeySet, keys_of
from ssl_jax.data.writer import HashedFile, SideWriter, Torn, token_dtype
from ssl_jax.text import EncodedDoc
from ssl_jax.types import Progress, Tokenizer

BATCH_CHARACTERS = 4 << 20
BATCH_DOCUMENTS = 1 << 15
COMMIT_SECONDS = 10.0

Encode = Callable[[list[Any]], list[EncodedDoc]]  # of a batch's documents


@dataclass
class Batch:
    """Documents of one source, as texts or (from a shard) encoded, and their keys [n] uint64.

    next: the place after them, by which their stream can be begun again; of texts (source, input, record).
    """

    documents: list[Any]
    keys: np.ndarray
    source: int
    bad: list[Bad]
    next: tuple[int, int, int]
    done: float  # of the sources' sizes
    seconds: float = 0.0  # that encoding took, where it was done elsewhere


@dataclass(frozen=True)
class Feed:
    """What a store is built from.

    kind: a word for what is done with it; no journal is read with a feed of another kind, whose places are
    others.  batches: the stream from a place on.  encode: makes `EncodedDoc`s of a batch's documents.
    """

    kind: str
    batches: Callable[[tuple[int, int, int]], Iterable[Batch]]
    encode: Encode


def batches(sources: Sequence[Opened], start: tuple[int, int, int]) -> Iterator[Batch]:
    """Batches of documents from a place on; none spans two sources."""
    done = 0.0
    for s, source in enumerate(sources):
        texts: list[str] = []
        bad: list[Bad] = []
        characters = 0
        for i, item in enumerate(source.inputs):
            size, read = item.size, 0
            first = start[2] if (s, i) == start[:2] else 0
            records = item.records(first) if (s, i) >= start[:2] else ()
            for place, record in enumerate(records, first + 1):
                if isinstance(record, Bad):
                    bad.append(record)
                else:
                    texts.append(record)
                    characters += len(record)
                    read += len(record)
                if characters >= BATCH_CHARACTERS or len(texts) + len(bad) >= BATCH_DOCUMENTS:
                    yield Batch(texts, keys_of(texts), s, bad, (s, i, place), done + min(size, read))
                    texts, bad, characters = [], [], 0
            done += size
        if texts or bad:
            yield Batch(texts, keys_of(texts), s, bad, (s + 1, 0, 0), done)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def ahead(items: Iterable[Any], depth: int = 2) -> Iterator[Any]:
    """The items, made in a thread of their own while the last ones are used."""
    ready: queue.Queue = queue.Queue(depth)
    stop = threading.Event()

    def put(value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put(value, timeout=0.2)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    thread = threading.Thread(target=work, name="ssl_jax-reader", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item
    finally:
        stop.set()
        thread.join()


class Build:
    """A store on its way, in a folder of its own beside the place where it will be published."""

    def __init__(self, folder: Path, key: str, tokenizer: Tokenizer, num_sources: int):
        self.folder, self._key, self.tokenizer = folder, key, tokenizer
        self._dtype = token_dtype(tokenizer.vocab_size)
        state = self._journal()
        if state is not None:
            try:
                self._open(state)
                return
            except Torn:
                pass  # a power cut took what the journal promises: begin again
        for name in ("train", "heldout"):
            shutil.rmtree(folder / name, ignore_errors=True)
        zero = {"documents": [0] * num_sources, "tokens": [0] * num_sources}
        self._open({"train": None, "heldout": None, "keys": None, "counts": None, "place": [0, 0, 0], **zero})

    def _journal(self) -> dict[str, Any] | None:
        try:
            state = json.loads((self.folder / "journal.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        return state if state.get("key") == self._key else None

    def _open(self, state: dict[str, Any]) -> None:
        self.sides = [SideWriter(self.folder / n, self._dtype, state[n]) for n in ("train", "heldout")]
        self.keys = HashedFile(self.folder / "keys.bin", state["keys"])
        self.counts = Counts(state["counts"])
        self.place = tuple(state["place"])
        self.source_documents, self.source_tokens = state["documents"], state["tokens"]
        self.seen = KeySet()
        raw = np.memmap(self.folder / "keys.bin", "<u8", "r") if self.keys.size else np.zeros(0, np.uint64)
        for at in range(0, len(raw), 1 << 20):
            self.seen.add(np.asarray(raw[at : at + (1 << 20)], np.uint64))

    def commit(self) -> None:
        write_json(
            self.folder / "journal.json",
            {
                "key": self._key,
                "train": self.sides[0].sync(),
                "heldout": self.sides[1].sync(),
                "keys": self.keys.sync(),
                "counts": self.counts.values,
                "place": list(self.place),
                "documents": self.source_documents,
                "tokens": self.source_tokens,
            },
        )

    def run(self, feed: Feed, total: int, limit: int, data: Any, progress: Progress) -> None:
        """Appends what is left of the feed.  total: characters; limit: keys below it are held out."""
        began = last = time.monotonic()
        with contextlib.closing(ahead(feed.batches(self.place))) as stream:
            for batch in stream:
                self._append(batch, feed.encode, limit, data)
                now = time.monotonic()
                self.counts.values["seconds"] += now - began
                began = now
                tokens = self.counts.values["tokens"]
                progress(f"{feed.kind} ({tokens:,} tokens)", int(batch.done), total, "characters")
                if now - last >= COMMIT_SECONDS:
                    self.commit()
                    last = began = time.monotonic()
        self.counts.check_bad(data.max_bad)

    def _append(self, batch: Batch, encode: Encode, limit: int, data: Any) -> None:
        counts = self.counts
        counts.values["records"] += len(batch.documents)
        counts.values["seconds"] += batch.seconds
        counts.add_bad(batch.bad, data.max_bad)
        fresh = self.seen.add(batch.keys)
        self.keys.write(batch.keys[fresh].astype("<u8"))
        documents, keys = batch.documents, batch.keys
        counts.values["duplicates"] += int((~fresh).sum())
        if data.dedup and not fresh.all():
            documents, keys = [d for d, new in zip(documents, fresh) if new], keys[fresh]
        if documents:
            docs = encode(documents)
            full = np.array([len(d.tokens) > 0 for d in docs], bool)
            held = keys < np.uint64(limit)
            counts.values["empty"] += int((~full).sum())
            for side, mine in zip(self.sides, (full & ~held, full & held)):
                chosen = [docs[j] for j in np.flatnonzero(mine)]
                side.append(chosen, np.full(len(chosen), batch.source))
            counts.add_documents([docs[j] for j in np.flatnonzero(full)])
            self.source_documents[batch.source] += int(full.sum())
            self.source_tokens[batch.source] += sum(len(d.tokens) for d in docs)
        self.place = batch.next

    def finish(self) -> dict[str, Any]:
        """The two sides' parts of the manifest; the journal and the keys go."""
        self.keys.close()
        sides = {name: side.finish() for name, side in zip(("train", "heldout"), self.sides)}
        (self.folder / "journal.json").unlink(missing_ok=True)
        (self.folder / "keys.bin").unlink(missing_ok=True)
        return sides

    def close(self) -> None:
        for file in (*self.sides, self.keys):
            file.close()
