# SPDX-License-Identifier: Apache-2.0
"""A directory of `transformers`, ours or another's, as a MODEL: what source.Source asks for."""

import dataclasses
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax

from ssl_jax import hf, text
from ssl_jax.data.files import cache_dir, sha256_of
from ssl_jax.experiment import Pretrained, Stream
from ssl_jax.types import Meta

PREFIX = "params."  # of the names that a checkpoint has


@dataclass(frozen=True)
class Exported:
    """config.json, safetensors and a tokenizer.  Its SHA256SUMS is checked, where there is one, before
    anything else is read."""

    path: Path
    step = 0
    vocab_shards = 1

    def __str__(self) -> str:
        return str(self.path)

    @property
    def measured(self) -> Mapping[str, float]:
        return {}

    @cached_property
    def _incoming(self) -> hf.Incoming:
        hf.verify(self.path)
        return hf.Incoming(self.path)

    @cached_property
    def network(self) -> Pretrained:
        incoming, config = self._incoming, self._incoming.config
        if config.vocab_rows == self._meta.vocab_size:
            config = dataclasses.replace(config, vocab_rows=None)
        return Pretrained(
            model=config,
            objective=incoming.objective,
            labels=incoming.labels,
            source=self.path.resolve().name,
        )

    @cached_property
    def tokenizer_dir(self) -> Path:
        """A copy in the cache, in the layout of a workdir's."""
        digest = hashlib.sha256()
        for file in sorted(p for p in self.path.iterdir() if p.suffix in (".json", ".txt", ".model")):
            digest.update(f"{file.name} {sha256_of(file)}\n".encode())
        kept = cache_dir() / "tokenizers" / f"kept-{digest.hexdigest()[:32]}"
        if not kept.is_dir():
            hf.keep_tokenizer(self.path, kept)
        return kept

    @cached_property
    def _meta(self) -> Meta:
        return Meta(tokenizer=text.load(self.tokenizer_dir), labels=self._incoming.labels)

    @cached_property
    def matched(self) -> hf.Matched:
        """Raises UserError that lists all tensors and leaves without a counterpart."""
        return self._incoming.matched(self._meta)

    def params(self, shardings: Mapping[str, Any], default: Any) -> dict[str, Any]:
        return {
            PREFIX + name: jax.device_put(leaf, shardings.get(PREFIX + name, default))
            for some in self.matched.leaves()
            for name, leaf in some.items()
        }

    def stream(self) -> Stream:
        return Stream(self.matched.shapes, self.matched.read)
