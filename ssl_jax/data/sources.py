# SPDX-License-Identifier: Apache-2.0
"""From a recipe's `data.source` to the inputs that hold its documents."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.data.config import (
    Data,
    HuggingFace,
    JsonLines,
    Mixture,
    Parquet,
    PythonDocs,
    Source,
    TextFiles,
    Tfds,
    Unit,
    Weighted,
)
from ssl_jax.data.files import listing, suffix
from ssl_jax.data.parquet import ParquetInput
from ssl_jax.data.readers import Input, JsonInput, Record, TextInput, detect_unit
from ssl_jax.types import UserError

_KINDS = {".jsonl": "json", ".ndjson": "json", ".json": "json", ".parquet": "parquet", ".pq": "parquet"}


@dataclass(frozen=True)
class Opened:
    """One source of a corpus: its name, its weight in the mixture and its inputs in order."""

    name: str
    weight: float
    inputs: tuple[Input, ...]

    def identity(self) -> list[Any]:
        return [self.name, self.weight, [i.identity() for i in self.inputs]]

    def records(self) -> Iterator[Record]:
        for i in self.inputs:
            yield from i.records()


def open_sources(data: Data) -> tuple[Opened, ...]:
    """The sources of a corpus in order.  Raises UserError where one is missing."""
    flat = list(_flatten(Weighted(source=data.source, weight=1.0), 1.0))
    if len(flat) > 2**16:
        raise UserError(f"data.source: a mixture of {len(flat)} sources; at most 65536 fit a store")
    opened, names = [], set()
    for item, weight in flat:
        source = parse(item.source, data.unit) if isinstance(item.source, str) else item.source
        name = item.name or _name(source)
        while name in names:
            name += "'"
        names.add(name)
        opened.append(Opened(name=name, weight=weight, inputs=tuple(_inputs(source, data))))
    return tuple(opened)


def _flatten(item: Weighted, factor: float) -> Iterator[tuple[Weighted, float]]:
    if not isinstance(item.source, Mixture):
        yield item, factor * item.weight
        return
    if not item.source.sources:
        raise UserError("data.source: a mixture of no sources")
    total = sum(w.weight for w in item.source.sources)
    for inner in item.source.sources:
        if not inner.weight > 0:
            raise UserError(f"data.source: a mixture's weight must be above 0, not {inner.weight}")
        yield from _flatten(inner, factor * item.weight / total)


def parse(text: str, unit: Unit = Unit.AUTO) -> Source:
    """`python-docs`, `tfds:name/config:split`, `hf:name:split` (`hf:owner/name/config:split`), or a path."""
    if text == "python-docs":
        return PythonDocs()
    kind, _, rest = text.partition(":")
    if kind in ("tfds", "hf"):
        name, _, split = rest.partition(":")
        if not name:
            raise UserError(f"data.source: {text}: say {kind}:name or {kind}:name/config:split")
        if kind == "tfds":
            name, _, config = name.partition("/")
        else:
            parts = name.split("/")
            name, config = ("/".join(parts[:2]), "/".join(parts[2:]))
        make = Tfds if kind == "tfds" else HuggingFace
        return make(name=name, config=config or None, split=split or "train")
    found = {_KINDS.get(suffix(name)[0], "text") for name, _ in listing(text)}
    if len(found) > 1:
        raise UserError(
            f"data.source: {text} holds {' and '.join(sorted(found))} files; name one kind by a glob"
        )
    if found == {"json"}:
        return JsonLines(pattern=text)
    if found == {"parquet"}:
        return Parquet(pattern=text)
    return TextFiles(pattern=text, unit=unit)


def _name(source: Source) -> str:
    """A name for reports and manifests that does not depend on where the corpus lies."""
    if isinstance(source, Tfds | HuggingFace):
        config = f"/{source.config}" if source.config else ""
        return f"{'tfds' if isinstance(source, Tfds) else 'hf'}:{source.name}{config}:{source.split}"
    if isinstance(source, PythonDocs):
        return "python-docs"
    return Path(source.pattern).name or "files"


def _inputs(source: Source, data: Data) -> list[Input]:
    if isinstance(source, PythonDocs):
        from ssl_jax.data.python_docs import PythonDocsInput

        return [PythonDocsInput()]
    if isinstance(source, Tfds):
        from ssl_jax.data.tfds import TfdsInput

        return [TfdsInput(dataclasses.replace(source, text_key=source.text_key or data.text_key))]
    if isinstance(source, HuggingFace):
        from ssl_jax.data.hf import HuggingFaceInput

        return [HuggingFaceInput(dataclasses.replace(source, text_key=source.text_key or data.text_key))]
    files = listing(source.pattern)
    limit = data.max_document_bytes
    if isinstance(source, JsonLines):
        return [JsonInput(name, path, limit, source.text_key or data.text_key) for name, path in files]
    if isinstance(source, Parquet):
        return [ParquetInput(name, path, limit, source.text_key or data.text_key) for name, path in files]
    if source.separator == "":
        raise UserError("data.source: the separator is empty; leave it out or name one")
    unit = source.unit
    if unit is Unit.AUTO and source.separator is None:
        unit = detect_unit(files[0][1], several=len(files) > 1)
    return [TextInput(name, path, limit, unit, source.separator) for name, path in files]
