# SPDX-License-Identifier: Apache-2.0
"""TFDS data sets by random access (`tfds.data_source`), without TensorFlow in this process."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_jax.data import tfds_prepare
from ssl_jax.data.config import Tfds
from ssl_jax.data.files import content_hash
from ssl_jax.data.readers import Bad, Input, Record, check_text
from ssl_jax.data.stretches import stretches
from ssl_jax.types import Failure, UserError

_READ = 256  # examples at once


def data_source(
    name: str, split: str, data_dir: str | None = None, config: str | None = None
) -> tuple[Sequence[Mapping[str, Any]], Any]:
    """(examples, builder) of a split, which may be a slice such as "train[:10%]"; prepared if it isn't.

    name: as TFDS has it, "glue" or "glue/sst2"; strings come back as bytes.  Raises UserError where TFDS
    doesn't know the set, its config or split, where it lies in another file format, or where preparing it
    needs TensorFlow or a network.
    """
    full = f"{name}/{config}" if config else name
    data_dir = data_dir or os.environ.get("TFDS_DATA_DIR")
    builder = _builder(full, data_dir)
    if not builder.is_prepared():
        _prepare(full, data_dir)
        builder = _builder(full, data_dir)
    try:
        return builder.as_data_source(split=split), builder
    except NotImplementedError as error:
        raise UserError(
            f"tfds:{full} lies in {builder.data_path} as {builder.info.file_format}, which needs TensorFlow; "
            "delete that folder and run again: it will be prepared as array_record"
        ) from error
    except (ValueError, KeyError) as error:
        known = ", ".join(sorted(builder.info.splits))
        raise UserError(f"tfds:{full} has no split {split!r}; it has: {known}") from error


def _builder(full: str, data_dir: str | None) -> Any:
    tfds_prepare.quiet()
    import tensorflow_datasets as tfds
    import tensorflow_datasets.text

    try:
        return tfds.builder(full, data_dir=data_dir)
    except tfds.core.registered.DatasetNotFoundError as error:
        place = data_dir or "TFDS_DATA_DIR"
        raise UserError(
            f"tfds:{full}: TFDS knows no such data set, and none is prepared in {place}"
        ) from error
    except ValueError as error:
        raise UserError(f"tfds:{full}: {str(error).strip().splitlines()[0]}") from error


def _prepare(full: str, data_dir: str | None) -> None:
    """Downloads and prepares in a process of its own: TensorFlow, where a builder needs it, stays there."""
    command = [sys.executable, "-m", tfds_prepare.__name__, full, data_dir or ""]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)  # TFDS's own progress goes to stderr
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else f"exit status {done.returncode}"
    if done.returncode == tfds_prepare.USER:
        raise UserError(f"tfds:{full}: {last}")
    if done.returncode:
        raise Failure(f"tfds:{full}: could not be prepared: {last}")


class TfdsInput:
    """The texts of one split of a TFDS data set."""

    def __init__(self, source: Tfds):
        self._source = source
        self._examples, self._builder = data_source(source.name, source.split, source.data_dir, source.config)
        features = self._builder.info.features
        for part in source.text_key.split("/"):
            if not hasattr(features, "keys") or part not in features:
                names = ", ".join(self._builder.info.features)
                raise UserError(
                    f"{self.name}: no feature {source.text_key!r} (set data.text_key); it has: {names}"
                )
            features = features[part]

    @property
    def name(self) -> str:
        return f"tfds:{self._builder.info.full_name}:{self._source.split}"

    @property
    def size(self) -> float:
        splits = self._builder.info.splits.values()
        examples = sum(split.num_examples for split in splits)
        return len(self._examples) * sum(split.num_bytes for split in splits) / max(1, examples)

    def identity(self) -> list[Any]:
        split = self._builder.info.splits[self._source.split]
        files = sorted({str(path) for path in split.filepaths})
        hashes = [content_hash(Path(path)) if Path(path).is_file() else path for path in files]
        return ["tfds", self.name, len(self._examples), self._source.text_key, hashes]

    def cut(self, count: int) -> tuple[Input, ...]:
        return stretches(self, len(self._examples), count)

    def records(self, start: int = 0) -> Iterator[Record]:
        for first in range(start, len(self._examples), _READ):
            numbers = range(first, min(first + _READ, len(self._examples)))
            for number, value in zip(numbers, self._read(numbers)):
                text, reason = check_text(value, self._source.text_key)
                yield text if reason is None else Bad(self.name, number, reason, unit="example")

    def _read(self, numbers: Sequence[int]) -> list[Any]:
        values = fetch(self._examples, numbers, self._builder, self.name)
        for part in self._source.text_key.split("/"):
            values = [value[part] for value in values]
        return values


def fetch(
    examples: Sequence[Mapping[str, Any]], numbers: Sequence[int], builder: Any, name: str
) -> list[Mapping[str, Any]]:
    """The examples of these numbers.  Raises UserError where their files are damaged."""
    why = "examples are missing"
    try:
        values = examples.__getitems__(list(numbers))
        # An ArrayRecord file cut at a block's end gives empty examples, without an error.
        if len(values) == len(numbers) and not any(map(_is_missing, values)):
            return values
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        why = str(error).splitlines()[0]
    raise UserError(f"{name}: {builder.data_path} is damaged ({why}); delete it, it will be prepared again")


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, Mapping) and any(map(_is_missing, value.values())))
