# SPDX-License-Identifier: Apache-2.0
"""What a recipe says about its corpus: `Data` and the sources it may name."""

import enum
from dataclasses import dataclass, field


class Unit(enum.StrEnum):
    """What one document of a text file is.

    AUTO: with many small files the file; otherwise, by the first 4 MB of the first file, the text between
    runs of two or more empty lines if there are any, else between blank lines, else a line.
    """

    AUTO = "auto"
    FILE = "file"
    LINE = "line"
    BLOCK = "block"  # between blank lines (white space alone counts as blank)
    SECTION = "section"  # between runs of two or more empty lines


@dataclass(frozen=True, kw_only=True)
class TextFiles:
    """Plain text.  pattern: a file, a glob or a directory (read recursively); .gz, .xz and .zst are opened.

    separator: a literal string between two documents, in place of a unit.
    """

    pattern: str
    unit: Unit = Unit.AUTO
    separator: str | None = None


@dataclass(frozen=True, kw_only=True)
class JsonLines:
    """One JSON object a line; text_key names the field (None: `Data.text_key`)."""

    pattern: str
    text_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Parquet:
    """Parquet files; text_key names the column (None: `Data.text_key`).  Needs ssl_jax[parquet]."""

    pattern: str
    text_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class Tfds:
    """A TFDS data set, read by random access.  data_dir: None is $TFDS_DATA_DIR or TFDS's own default.

    text_key: a feature; "paragraph/text" reaches into nested ones.
    """

    name: str
    config: str | None = None
    split: str = "train"
    text_key: str | None = None
    data_dir: str | None = None


@dataclass(frozen=True, kw_only=True)
class HuggingFace:
    """A data set for the `datasets` library, by its name there.  Needs ssl_jax[hf]."""

    name: str
    config: str | None = None
    split: str = "train"
    text_key: str | None = None
    revision: str | None = None


@dataclass(frozen=True, kw_only=True)
class PythonDocs:
    """What every Python installation carries: the language reference in `pydoc_data` and the standard
    library's docstrings, about 2 MB of English.  Modules are parsed, never imported."""


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """A source and its weight in a mixture, in whatever the plan counts (rows or tokens)."""

    source: "str | Source"
    weight: float
    name: str | None = None


@dataclass(frozen=True, kw_only=True)
class Mixture:
    """Several sources, each document marked with its own.  A mixture in a mixture multiplies the weights."""

    sources: tuple[Weighted, ...]


Source = TextFiles | JsonLines | Parquet | Tfds | HuggingFace | PythonDocs | Mixture


@dataclass(frozen=True, kw_only=True)
class Data:
    """The recipe's `data` section.

    source: an object above, or a string: `python-docs`, `tfds:name/config:split`, `hf:name:split` or
        `hf:name/config...`, otherwise a file, glob or directory whose suffix decides how it is read.  None
        with a `store` trains on that store as it is.
    text_key: the field of JSON lines, Parquet, TFDS and Hugging Face that holds the text.
    unit: what a document is where `source` is a string that names plain text.
    store: the prepared store's folder, or gs://, s3:// where one lies already.  None: a folder of the cache
        ($SSL_JAX_CACHE, else ~/.cache/ssl_jax) named by what the corpus is made of.
    heldout: share of the documents kept from training, chosen by a hash of the normalised document.
    dedup: drop exact duplicates (same hash); they are counted either way.
    max_bad: share of bad records past which preparing is an error.
    max_document_bytes: a longer document is a bad record; encoding takes about 60 bytes of memory a byte.
    num_threads: 0 is one a core.
    """

    source: str | Source | None = "python-docs"
    text_key: str = "text"
    unit: Unit = Unit.AUTO
    store: str | None = field(default=None, metadata={"free": True})
    heldout: float = 0.02
    dedup: bool = False
    max_bad: float = 0.001
    max_document_bytes: int = 2**28
    num_threads: int = field(default=0, metadata={"free": True})
