# SPDX-License-Identifier: Apache-2.0
"""Texts and questions to measure a language model on, of files and TFDS sets, one at a time."""

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ssl_jax.data import Data, Tfds, Unit
from ssl_jax.data.files import listing
from ssl_jax.data.readers import Bad
from ssl_jax.data.sources import open_sources, parse
from ssl_jax.data.tfds import data_source
from ssl_jax.types import UserError
from ssl_jax.use.inputs import objects
from ssl_jax.use.score import Choice, choice_of


def texts(source: str, text_key: str, unit: Unit) -> Iterator[str]:
    """The documents of a source, as a recipe's data.source has it.  Raises UserError at the first bad one."""
    with _as_typed():
        sources = open_sources(Data(source=source, text_key=text_key, unit=unit))
    for opened in sources:
        for record in opened.records():
            if isinstance(record, Bad):
                raise UserError(str(record))
            yield record


def questions(source: str) -> Iterator[Choice]:
    """Of JSON lines (a path or a glob) or a TFDS set (`tfds:name/config:split`), with the fields context,
    choices and answer."""
    if not source.startswith("tfds:"):
        with _as_typed():
            files = listing(source)
        for _, path in files:
            for where, value in objects(path):
                yield choice_of(value, where)
        return
    found = parse(source)
    assert isinstance(found, Tfds)
    examples, _ = data_source(found.name, found.split, found.data_dir, found.config)
    for number in range(len(examples)):
        yield choice_of(plain(examples[number]), f"{source}: example {number}")


@contextlib.contextmanager
def _as_typed() -> Iterator[None]:
    """A complaint about a recipe's field as one about what stands on the command line."""
    try:
        yield
    except UserError as error:
        raise UserError(str(error).removeprefix("data.source: ")) from error


def plain(value: Any) -> Any:
    """What TFDS hands out as JSON would have it: bytes become text, arrays lists."""
    match value:
        case bytes():
            return value.decode()
        case Mapping():
            return {name: plain(inner) for name, inner in value.items()}
        case list() | tuple() | np.ndarray():
            return [plain(inner) for inner in value]
        case np.generic():
            return value.item()
    return value
