# SPDX-License-Identifier: Apache-2.0
"""Data sets of the Hugging Face `datasets` library (extra [hf]), memory-mapped by it."""

from collections.abc import Iterator
from typing import Any

from ssl_jax.data.config import HuggingFace
from ssl_jax.data.readers import Bad, Input, Record, check_text
from ssl_jax.data.stretches import stretches
from ssl_jax.types import UserError

_READ = 256  # rows at once


class HuggingFaceInput:
    """The texts of one split."""

    def __init__(self, source: HuggingFace):
        config = f"/{source.config}" if source.config else ""
        self.name = f"hf:{source.name}{config}:{source.split}"
        try:
            import datasets
        except ImportError as error:
            raise UserError(f"{self.name}: needs: pip install 'ssl_jax[hf]'") from error
        try:
            self._rows = datasets.load_dataset(
                source.name, source.config, split=source.split, revision=source.revision
            )
        except (ValueError, OSError) as error:  # unknown name, config or split; no network
            raise UserError(f"{self.name}: {' '.join(str(error).split())[:300]}") from error
        self._key = source.text_key
        if self._key not in self._rows.column_names:
            names = ", ".join(self._rows.column_names)
            raise UserError(f"{self.name}: no column {self._key!r} (set data.text_key); it has: {names}")

    @property
    def size(self) -> float:
        return float(self._rows.dataset_size or 0) or 1000.0 * len(self._rows)

    def identity(self) -> list[Any]:
        # The fingerprint covers the files and what the library did to them.
        return ["hf", self.name, self._rows._fingerprint, len(self._rows), self._key]

    def cut(self, count: int) -> tuple[Input, ...]:
        return stretches(self, len(self._rows), count)

    def records(self, start: int = 0) -> Iterator[Record]:
        for first in range(start, len(self._rows), _READ):
            for number, value in enumerate(self._rows[first : first + _READ][self._key], first):
                text, reason = check_text(value, self._key)
                yield text if reason is None else Bad(self.name, number, reason, unit="row")
