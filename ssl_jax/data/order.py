# SPDX-License-Identifier: Apache-2.0
"""What a corpus is made of, and what is settled before its first document is encoded."""

import dataclasses
import enum
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ssl_jax import text as text_lib
from ssl_jax.data.build import Encode, available_cores
from ssl_jax.data.config import Data
from ssl_jax.data.corpus import Corpus, open_corpus
from ssl_jax.data.files import cache_dir, disk_errors, fsync_dir, locked
from ssl_jax.data.readers import Bad
from ssl_jax.data.remote import is_remote
from ssl_jax.data.report import Counts
from ssl_jax.data.sample import sample
from ssl_jax.data.sources import Opened, open_sources
from ssl_jax.data.split import settle_threshold, threshold
from ssl_jax.data.store import FORMAT, Damaged, digest_of
from ssl_jax.types import Progress, Tokenizer, UserError


def silent(stage: str, done: int, total: int | None, unit: str) -> None:
    pass


@dataclass(frozen=True)
class Order:
    """A corpus that is wanted: what it is made of, and where its store lies or will lie."""

    data: Data
    text: Any
    sources: tuple[Opened, ...]
    key: str
    folder: Path

    def published(self) -> Corpus | None:
        return _published(self.folder, self.key, in_cache=not self.data.store)


@dataclass(frozen=True)
class Settled:
    """What is fixed before the first document is encoded.

    limit: documents whose keys lie below it are held out.  tokenizer_dir: a folder with a trained one.
    """

    limit: int
    tokenizer_dir: Path

    @cached_property
    def tokenizer(self) -> Tokenizer:
        return text_lib.load(self.tokenizer_dir)

    def encoding(self, data: Data, text: Any) -> Encode:
        encoder = text_lib.Encoder(self.tokenizer, text)
        threads = data.num_threads or available_cores()
        return lambda texts: encoder.encode_documents(texts, threads)


def order(data: Data, text: Any, progress: Progress, tokenizer: Path | None = None) -> Order:
    """tokenizer: a folder with a trained one, in place of the one that `text` describes."""
    if reads_only(data):
        raise UserError("nothing to build: data.source is None, or data.store lies behind a URL")
    sources = open_sources(data)
    progress("look at the sources", 0, None, "files")
    key = store_key(data, text, sources, tokenizer)
    place = Path(data.store).expanduser() if data.store else cache_dir() / "stores" / key[:32]
    return Order(data, text, sources, key, place)


def reads_only(data: Data) -> bool:
    """Whether the recipe takes a store as it is.  TPU hosts read what was prepared elsewhere: the raw text
    need not be there."""
    _check(data)
    return data.source is None or bool(data.store and is_remote(data.store))


def train_tokenizer(data: Data, text: Any, progress: Progress | None = None) -> Path:
    """The folder of the recipe's tokenizer, trained on training-side documents only if it isn't there yet."""
    _check(data)
    sources = open_sources(data)
    with disk_errors(cache_dir()):
        return _tokenizer(data, text, sources, _limit(data, sources), progress or silent)


def settle(wanted: Order, progress: Progress, given: Path | None = None) -> Settled:
    """The same on every machine; the tokenizer is trained in the cache if none is given."""
    progress("choose held-out documents", 0, None, "documents")
    limit = _limit(wanted.data, wanted.sources)
    return Settled(limit, given or _tokenizer(wanted.data, wanted.text, wanted.sources, limit, progress))


def store_key(data: Data, text: Any, sources: Sequence[Opened], tokenizer: Path | None = None) -> str:
    """What a store is made of, as one hash: it changes when the store would."""
    described = plain(text)
    if tokenizer is not None:
        described["tokenizer"] = text_lib.load(tokenizer).fingerprint
    elif not text.tokenizer.trains:
        described["tokenizer"] = given_tokenizer(text).fingerprint  # what is in its file, not where that is
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


def given_tokenizer(text: Any) -> Any:
    """The tokenizer of a kind that is read from the user's file."""
    with tempfile.TemporaryDirectory() as folder:
        text.tokenizer.train((), Path(folder))
        return text_lib.load(Path(folder))


def _tokenizer(data: Data, text: Any, sources: Sequence[Opened], limit: int, progress: Progress) -> Path:
    """Trains the tokenizer in the cache, under a key of all that it is made of."""
    described = plain(text.tokenizer) if text.tokenizer.trains else given_tokenizer(text).fingerprint
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
