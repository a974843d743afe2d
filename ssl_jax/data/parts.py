# SPDX-License-Identifier: Apache-2.0
"""A store built by many processes: each encodes shards, the last step puts them together.

All of them see one folder, FOLDER.parts beside the store's place.  It holds what the first process settled
(held-out threshold, tokenizer) and the shards' files.  Who writes the same shard twice writes the same.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.data import shards
from ssl_jax.data.build import Batch, Feed, ahead
from ssl_jax.data.config import Data
from ssl_jax.data.corpus import Corpus
from ssl_jax.data.files import disk_errors, locked, write_json
from ssl_jax.data.order import Order, Settled, order, settle, silent
from ssl_jax.data.prepare import build, locked_build
from ssl_jax.data.report import Counts
from ssl_jax.data.shards import Shard
from ssl_jax.data.store import digest_of
from ssl_jax.data.writer import token_dtype
from ssl_jax.types import Progress, UserError


@dataclass(frozen=True)
class Site:
    """The folder of the parts and all that encoding a shard needs; it can be sent to another machine."""

    folder: Path
    key: str
    settled: Settled
    data: Data
    text: Any

    def missing(self, numbers: Sequence[int]) -> list[int]:
        return [number for number in numbers if not shards.is_whole(self.folder, number, self.key)]

    def encode(self, number: int, shard: Shard, tell: Callable[[float], None] = lambda done: None) -> None:
        """Writes a shard's file.  tell: how many of its characters are done.

        Raises UserError early where its records are hopelessly bad.
        """
        encode = self.settled.encoding(self.data, self.text)
        dtype = token_dtype(self.settled.tokenizer.vocab_size)
        counts = Counts()

        def encoded() -> Iterator[Batch]:
            began = time.monotonic()
            with contextlib.closing(ahead(shard.batches())) as stream:
                for batch in stream:
                    counts.values["records"] += len(batch.documents)
                    counts.add_bad(batch.bad, self.data.max_bad)
                    docs = encode(batch.documents) if batch.documents else []
                    took, began = time.monotonic() - began, time.monotonic()
                    tell(batch.done * 0.99)  # the rest is the file's
                    yield dataclasses.replace(batch, documents=docs, seconds=took)

        with disk_errors(self.folder):
            shards.write(self.folder, number, self.key, encoded(), dtype)


def open_site(wanted: Order, progress: Progress) -> Site:
    """The site, settled by the first process that comes while the others wait."""
    folder = _folder(wanted)
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        waiting = lambda: progress("wait for the process that trains the tokenizer", 0, None, "")
        with locked(folder / "lock", waiting):
            if not (folder / "settled.json").exists():
                settled = settle(wanted, progress)
                shutil.rmtree(folder / "tokenizer", ignore_errors=True)
                shutil.copytree(settled.tokenizer_dir, folder / "tokenizer")
                facts = {"limit": settled.limit, "tokenizer": settled.tokenizer.fingerprint}
                write_json(folder / "settled.json", {"key": wanted.key, **facts})
        return _site(wanted)


def prepare_part(
    data: Data, text: Any, part: int, parts: int, progress: Progress | None = None
) -> Corpus | int:
    """Encodes the shards of part `part` of `parts` (from 0) that are not there yet; any number of processes
    may do so at once.  Returns how many shards the part has, or the corpus where it is published already.

    Raises what `prepare` raises, as far as this part meets it.
    """
    progress = progress or silent
    wanted = order(data, text, progress)
    if corpus := wanted.published():
        return corpus
    site = open_site(wanted, progress)
    everything = shards.cut(wanted.sources)
    mine = range(part, len(everything), parts)
    todo = site.missing(mine)
    *before, total = itertools.accumulate((everything[number].size for number in todo), initial=0.0)

    def tell(done: float, more: float) -> None:
        progress(f"encode part {part}/{parts}", int(done + more), int(total), "characters")

    try:
        (site.folder / f"of-{parts}").touch()  # so that publish can say which part is missing
        for number, done in zip(todo, before):
            site.encode(number, everything[number], functools.partial(tell, done))
    except FileNotFoundError:  # the folder: others made this part too, and all was published meanwhile
        if (corpus := wanted.published()) is None:
            raise
        return corpus
    tell(total, 0)
    return len(mine)


def publish(data: Data, text: Any, progress: Progress | None = None) -> Corpus:
    """Puts the shards of all parts together: the store that `prepare` would build, byte for byte.

    Killed, it goes on where it was.  Raises UserError that names the part where a shard is missing.
    """
    progress = progress or silent
    wanted = order(data, text, progress)
    corpus = wanted.published()
    if corpus is None:
        site = _site(wanted)
        everything = shards.cut(wanted.sources)
        if missing := site.missing(range(len(everything))):
            raise UserError(_what_to_run(site.folder, missing, len(everything)))
        feed = Feed("put together", lambda place: shards.read(site.folder, everything, place), list)
        make = lambda building: build(building, wanted, site.settled, feed, progress)
        corpus = locked_build(wanted, make, progress)
    shutil.rmtree(_folder(wanted), ignore_errors=True)
    return corpus


def _folder(wanted: Order) -> Path:
    return wanted.folder.absolute().with_name(wanted.folder.name + ".parts")


def _site(wanted: Order) -> Site:
    folder = _folder(wanted)
    try:
        settled = json.loads((folder / "settled.json").read_bytes())
    except FileNotFoundError:
        what = "no part is prepared; run ssl-jax prepare RECIPE --part I/N for every I from 0 to N-1"
        raise UserError(f"{folder}: {what}") from None
    if settled["key"] != wanted.key:
        raise UserError(
            f"{folder} holds parts of other files or settings than the recipe's now; delete it, or name "
            "another data.store"
        )
    key = digest_of([wanted.key, settled["tokenizer"], shards.SMALLEST, shards.LARGEST])
    made = Settled(settled["limit"], folder / "tokenizer")
    return Site(folder, key, made, wanted.data, wanted.text)


def _what_to_run(folder: Path, missing: Sequence[int], count: int) -> str:
    dealt = sorted(int(path.name[3:]) for path in folder.glob("of-*"))
    if not dealt:
        return f"{len(missing)} of {count} shards are missing; run the same --beam command again"
    parts = sorted({number % dealt[-1] for number in missing})
    names = ", ".join(f"{part}/{dealt[-1]}" for part in parts[:8]) + ", ..." * (len(parts) > 8)
    return (
        f"part {names} is not prepared ({len(missing)} of {count} shards are missing); run ssl-jax prepare "
        f"RECIPE --part {parts[0]}/{dealt[-1]}{' and the others' * (len(parts) > 1)}, then publish"
    )
