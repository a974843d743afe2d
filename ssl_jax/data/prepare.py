# SPDX-License-Identifier: Apache-2.0
"""From raw text to a published store: resumable, in constant memory, never half there."""

import dataclasses
import enum
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ssl_jax import text as text_lib
from ssl_jax.data.build import Build
from ssl_jax.data.config import Data
from ssl_jax.data.corpus import Corpus, open_corpus
from ssl_jax.data.files import cache_dir, disk_errors, fsync_dir, locked, sha256_of, write_json
from ssl_jax.data.readers import Bad
from ssl_jax.data.remote import is_remote
from ssl_jax.data.report import Counts, report_of
from ssl_jax.data.sample import sample
from ssl_jax.data.sources import Opened, open_sources
from ssl_jax.data.split import settle_threshold, threshold
from ssl_jax.data.store import FORMAT, Damaged, digest_of
from ssl_jax.types import Progress, UserError


def _silent(stage: str, done: int, total: int | None, unit: str) -> None:
    pass


def prepare(data: Data, text: Any, progress: Progress | None = None, tokenizer: Path | None = None) -> Corpus:
    """The corpus of a recipe: opened where a valid store is there, else built (or its building continued).

    text: the recipe's `text` section; tokenizer: a folder with a trained tokenizer to use in place of the
    one that `text` describes.  Two processes never build the same store at once: the second waits.

    A store is bound to a key: the sha256 of every input file (remembered by its size, times and inode), the
    settings that shape it, and the tokenizer's.  In the cache another key is another folder, and a damaged
    store is built again; in a folder that `data.store` names both are refused.  Raises UserError there, for
    a missing or unusable corpus and for too many bad records; Failure for a full disk.
    """
    progress = progress or _silent
    _check(data)
    if data.source is None or (data.store and is_remote(data.store)):
        # TPU hosts read what was prepared elsewhere: the raw text need not be there.
        if not data.store:
            raise UserError("data.source and data.store are both None; name a source or a prepared store")
        return open_corpus(data.store)
    sources = open_sources(data)
    progress("look at the sources", 0, None, "files")
    key = store_key(data, text, sources, tokenizer)
    folder = _place(data, key)
    corpus = _published(folder, key, in_cache=not data.store)
    if corpus:
        return corpus
    building = folder.with_name(folder.name + ".building")
    with disk_errors(folder):
        building.mkdir(parents=True, exist_ok=True)
        waiting = lambda: progress("wait for another process that prepares the same", 0, None, "")
        # The lock moves with the folder when it is published; who waited for it then finds the store.
        with locked(building / "lock", waiting):
            corpus = _published(folder, key, in_cache=not data.store)
            return corpus or _build(building, folder, key, data, text, sources, progress, tokenizer)


def prepared(data: Data, text: Any) -> Corpus | None:
    """The corpus of a recipe where a valid store is there already, else None; builds nothing."""
    _check(data)
    if data.source is None or (data.store and is_remote(data.store)):
        return prepare(data, text)
    key = store_key(data, text, open_sources(data))
    return _published(_place(data, key), key, in_cache=not data.store)


def _place(data: Data, key: str) -> Path:
    return Path(data.store).expanduser() if data.store else cache_dir() / "stores" / key[:32]


def train_tokenizer(data: Data, text: Any, progress: Progress | None = None) -> Path:
    """The folder of the recipe's tokenizer, trained on training-side documents only if it isn't there yet."""
    _check(data)
    sources = open_sources(data)
    with disk_errors(cache_dir()):
        return _tokenizer(data, text, sources, _limit(data, sources), progress or _silent)


def store_key(data: Data, text: Any, sources: Sequence[Opened], tokenizer: Path | None = None) -> str:
    """What a store is made of, as one hash: it changes when the store would."""
    described = plain(text)
    if tokenizer is not None:
        described["tokenizer"] = text_lib.load(tokenizer).fingerprint
    elif not text.tokenizer.trains:
        described["tokenizer"] = _given_tokenizer(text).fingerprint  # what is in its file, not where that is
    settings = [data.heldout, data.dedup, data.max_document_bytes]
    return digest_of([FORMAT, settings, described, [s.identity() for s in sources]])


def plain(value: Any) -> Any:
    """A config as JSON: dataclasses with their class's name, enums by value."""
    if dataclasses.is_dataclass(value):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, enum.Enum):
        return value.value
    return [plain(v) for v in value] if isinstance(value, tuple | list) else value


def _check(data: Data) -> None:
    if not 0 <= data.heldout < 1:
        raise UserError(f"data.heldout={data.heldout}: a share of the documents, 0 to below 1")
    if not 0 <= data.max_bad <= 1:
        raise UserError(f"data.max_bad={data.max_bad}: a share of the records, 0 to 1")


def _published(folder: Path, key: str, in_cache: bool) -> Corpus | None:
    """The store that is there already, if it is whole and made of the same.

    Else None where there is nothing, or in the cache something that may be replaced; UserError in a folder
    that the user named.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        corpus = open_corpus(folder)
        if corpus.manifest["key"] == key:
            return corpus
    except Damaged:
        if not in_cache:
            raise
    else:
        if not in_cache:
            raise UserError(
                f"data.store={folder} was prepared from other files or settings than the recipe's now; "
                "delete it, name another folder, or set data.source=None to use it as it is"
            )
    return None


def _limit(data: Data, sources: Sequence[Opened]) -> int:
    if not data.heldout:
        return threshold(0)
    counts = Counts()

    def texts() -> Iterator[str]:
        for record in (record for source in sources for record in source.records()):
            if isinstance(record, Bad):
                counts.add_bad([record], data.max_bad)
            else:
                counts.values["records"] += 1
                yield record

    try:
        return settle_threshold(texts(), data.heldout)
    except UserError:
        counts.check_bad(data.max_bad)  # the reason behind "no document", where records were bad
        raise


def _given_tokenizer(text: Any) -> Any:
    """The tokenizer of a kind that is read from the user's file."""
    with tempfile.TemporaryDirectory() as folder:
        text.tokenizer.train((), Path(folder))
        return text_lib.load(Path(folder))


def _tokenizer(data: Data, text: Any, sources: Sequence[Opened], limit: int, progress: Progress) -> Path:
    """Trains the tokenizer in the cache, under a key of all that it is made of."""
    described = plain(text.tokenizer) if text.tokenizer.trains else _given_tokenizer(text).fingerprint
    key = digest_of([FORMAT, described, str(limit), [s.identity() for s in sources]])
    folder = cache_dir() / "tokenizers" / key[:32]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with locked(folder.with_name(folder.name + ".lock")):
        if not folder.is_dir():
            temporary = folder.with_name(folder.name + ".tmp")
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            # Twice what the tokenizer keeps: it chooses among lines, this sample among documents.
            texts = sample(sources, limit, 2 * text.tokenizer.sample_chars) if text.tokenizer.trains else ()
            text.tokenizer.train(texts, temporary, progress)
            os.replace(temporary, folder)
            fsync_dir(folder.parent)
    return folder


def _build(
    building: Path,
    folder: Path,
    key: str,
    data: Data,
    text: Any,
    sources: Sequence[Opened],
    progress: Progress,
    given: Path | None,
) -> Corpus:
    progress("choose held-out documents", 0, None, "documents")
    limit = _limit(data, sources)
    trained = given or _tokenizer(data, text, sources, limit, progress)
    tokenizer = text_lib.load(trained)
    shutil.rmtree(building / "tokenizer", ignore_errors=True)
    shutil.copytree(trained, building / "tokenizer")
    build_key = digest_of([key, tokenizer.fingerprint])
    build = Build(building, build_key, tokenizer, len(sources))
    try:
        build.run(sources, text_lib.Encoder(tokenizer, text), limit, data, progress)
        counts = build.counts.values
        if not counts["documents"]:
            raise UserError("data.source: no document holds a word")
        sides = build.finish()
    finally:
        build.close()
    manifest = _manifest(building, key, data, sources, tokenizer, sides, build)
    write_json(building / "report.json", report_of(counts, manifest))
    write_json(building / "manifest.json", manifest)
    if folder.exists():
        shutil.rmtree(folder)  # empty or in the cache: _published would have refused it otherwise
    os.replace(building, folder)
    (folder / "lock").unlink()  # not before: who comes now must find this lock, not make another
    fsync_dir(folder.parent)
    return open_corpus(folder)


def _manifest(
    building: Path, key: str, data: Data, sources, tokenizer, sides, build: Build
) -> dict[str, Any]:
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
        "key": key,
        "tokenizer": tokenizer.fingerprint,
        "vocab_size": tokenizer.vocab_size,
        "settings": {
            "heldout": data.heldout,
            "dedup": data.dedup,
            "max_document_bytes": data.max_document_bytes,
        },
        "sources": [
            {"name": s.name, "weight": s.weight, "documents": d, "tokens": t}
            for s, d, t in zip(sources, build.source_documents, build.source_tokens)
        ],
        **sides,
        "files": files,
    }
    return {**manifest, "fingerprint": digest_of(manifest)}
