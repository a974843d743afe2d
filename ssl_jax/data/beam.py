# SPDX-License-Identifier: Apache-2.0
"""The shards of a store as elements of an Apache Beam pipeline (extra [beam]), on any of Beam's runners.

Workers need this package and see the same folders as the process that starts the pipeline.
"""

import contextlib
import logging
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import apache_beam
from apache_beam.options.pipeline_options import PipelineOptions

from ssl_jax.data import shards
from ssl_jax.data.config import Data
from ssl_jax.data.corpus import Corpus
from ssl_jax.data.order import order, silent
from ssl_jax.data.parts import Site, open_site, publish
from ssl_jax.data.sources import open_sources
from ssl_jax.types import Failure, Progress, UserError

_LOOK_SECONDS = 5.0

# The direct runner's workers tell of an error at length, again and again; the error itself comes to us.
logging.getLogger("apache_beam.runners").setLevel(logging.CRITICAL)


class EncodeShard(apache_beam.DoFn):
    """A shard's number -> its file."""

    def __init__(self, site: Site):
        self._site = site

    def setup(self) -> None:
        self._shards = shards.cut(open_sources(self._site.data))

    def process(self, number: int) -> Iterator[int]:
        if self._site.missing([number]):  # a runner may try again, or try twice at once
            self._site.encode(number, self._shards[number])
        yield number


def prepare_by_beam(
    data: Data, text: Any, options: Sequence[str] = (), progress: Progress | None = None
) -> Corpus:
    """Encodes the shards that are not there yet in a pipeline, then publishes the store.

    options: Beam's own, as on its command line.  Raises what `prepare` raises, and Failure where the
    pipeline fails; run again, it goes on with the shards that are missing.
    """
    progress = progress or silent
    wanted = order(data, text, progress)
    if corpus := wanted.published():
        return corpus
    site = open_site(wanted, progress)
    everything = range(len(shards.cut(wanted.sources)))
    if todo := site.missing(everything):
        with _watched(site, everything, progress):
            _run(site, todo, options)
    return publish(data, text, progress)


def _run(site: Site, todo: Sequence[int], options: Sequence[str]) -> None:
    try:
        with apache_beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
            numbers = pipeline | apache_beam.Create(todo) | apache_beam.Reshuffle()
            _ = numbers | apache_beam.ParDo(EncodeShard(site))
    except (UserError, Failure):
        raise
    except Exception as error:
        raise Failure(f"the Beam pipeline failed: {str(error).strip().splitlines()[-1]}") from error


@contextlib.contextmanager
def _watched(site: Site, everything: Sequence[int], progress: Progress) -> Iterator[None]:
    """Tells how many shards are there, whoever makes them."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_SECONDS):
            done = len(everything) - len(site.missing(everything))
            progress("encode under Beam", done, len(everything), "shards")

    thread = threading.Thread(target=look, name="ssl_jax-watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
