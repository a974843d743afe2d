# SPDX-License-Identifier: Apache-2.0
"""From raw text to a published store: resumable, in constant memory, never half there."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssl_jax.data.build import Build, Feed, available_cores, batches
from ssl_jax.data.config import Data
from ssl_jax.data.corpus import Corpus, open_corpus
from ssl_jax.data.files import disk_errors, fsync_dir, locked, sha256_of, write_json
from ssl_jax.data.order import Order, Settled, order, reads_only, settle, silent
from ssl_jax.data.report import report_of
from ssl_jax.data.sources import open_sources
from ssl_jax.data.store import FORMAT, digest_of
from ssl_jax.types import Progress, UserError


def prepare(data: Data, text: Any, progress: Progress | None = None, tokenizer: Path | None = None) -> Corpus:
    """The corpus of a recipe: opened where a valid store is there, else built (or its building continued).

    text: the recipe's `text` section; tokenizer: a folder with a trained tokenizer to use in place of the
    one that `text` describes.  Two processes never build the same store at once: the second waits.

    A store is bound to a key: the sha256 of every input file (remembered by its size, times and inode), the
    settings that shape it, and the tokenizer's.  In the cache another key is another folder, and a damaged
    store is built again; in a folder that `data.store` names both are refused.  Raises UserError there, for
    a missing or unusable corpus and for too many bad records; Failure for a full disk.
    """
    progress = progress or silent
    if reads_only(data):
        return _as_it_is(data)
    wanted = order(data, text, progress, tokenizer)

    def make(building: Path) -> Corpus:
        settled = settle(wanted, progress, tokenizer)
        stream = lambda place: batches(wanted.sources, place)
        feed = Feed("tokenize", stream, settled.encoding(data, text))
        return build(building, wanted, settled, feed, progress)

    return wanted.published() or locked_build(wanted, make, progress)


def prepared(data: Data, text: Any) -> Corpus | None:
    """The corpus of a recipe where a valid store is there already, else None; builds nothing."""
    return _as_it_is(data) if reads_only(data) else order(data, text, silent).published()


RATE = 2.8e6  # characters a second and core: 30 MB of English, 8,192 pieces, in 10.6 s of an x86-64 core


def estimate(data: Data) -> tuple[float, int]:
    """(seconds, cores): about how long `prepare` takes here, by the sizes of its inputs alone."""
    size = sum(i.size for s in open_sources(data) for i in s.inputs)
    cores = data.num_threads or available_cores()
    return size / (RATE * cores), cores


def _as_it_is(data: Data) -> Corpus:
    if not data.store:
        raise UserError("data.source and data.store are both None; name a source or a prepared store")
    return open_corpus(data.store)


def locked_build(wanted: Order, make: Callable[[Path], Corpus], progress: Progress) -> Corpus:
    """make(folder beside the store's place), by one process at a time; or what another one has published."""
    building = wanted.folder.with_name(wanted.folder.name + ".building")
    with disk_errors(wanted.folder):
        building.mkdir(parents=True, exist_ok=True)
        waiting = lambda: progress("wait for another process that prepares the same", 0, None, "")
        # The lock moves with the folder when it is published; who waited for it then finds the store.
        with locked(building / "lock", waiting):
            return wanted.published() or make(building)


def build(building: Path, wanted: Order, settled: Settled, feed: Feed, progress: Progress) -> Corpus:
    """Builds the store in a folder of its own, and publishes it."""
    tokenizer = settled.tokenizer
    shutil.rmtree(building / "tokenizer", ignore_errors=True)
    shutil.copytree(settled.tokenizer_dir, building / "tokenizer")
    build_key = digest_of([wanted.key, tokenizer.fingerprint, feed.kind])
    site = Build(building, build_key, tokenizer, len(wanted.sources))
    try:
        total = int(sum(i.size for s in wanted.sources for i in s.inputs))
        site.run(feed, total, settled.limit, wanted.data, progress)
        counts = site.counts.values
        if not counts["documents"]:
            raise UserError("data.source: no document holds a word")
        sides = site.finish()
    finally:
        site.close()
    manifest = _manifest(building, wanted, tokenizer, sides, site)
    write_json(building / "report.json", report_of(counts, manifest))
    write_json(building / "manifest.json", manifest)
    folder = wanted.folder
    if folder.exists():
        shutil.rmtree(folder)  # empty or in the cache: _published would have refused it otherwise
    os.replace(building, folder)
    (folder / "lock").unlink()  # not before: who comes now must find this lock, not make another
    fsync_dir(folder.parent)
    return open_corpus(folder)


def _manifest(building: Path, wanted: Order, tokenizer, sides, site: Build) -> dict[str, Any]:
    data = wanted.data
    files = {}
    for name, side in sides.items():
        files |= {f"{name}/{file}": entry for file, entry in side.pop("files").items()}
    for path in sorted((building / "tokenizer").rglob("*")):
        if path.is_file():
            name = path.relative_to(building).as_posix()
            files[name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    for name, side in sides.items():  # a side's fingerprint is of its own files
        side["digest"] = digest_of({f: e for f, e in files.items() if f.startswith(name)})
    manifest = {
        "format": FORMAT,
        "key": wanted.key,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "settings": {
            "heldout": data.heldout,
            "dedup": data.dedup,
            "max_document_bytes": data.max_document_bytes,
        },
        "sources": [
            {"name": s.name, "weight": s.weight, "documents": d, "tokens": t}
            for s, d, t in zip(wanted.sources, site.source_documents, site.source_tokens)
        ],
        **sides,
        "files": files,
    }
    return {**manifest, "fingerprint": digest_of(manifest)}
