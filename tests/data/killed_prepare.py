# SPDX-License-Identifier: Apache-2.0
"""Prepares a corpus again and again, killed at a given write, sync or rename each time, then to the end.

`python -m tests.data.killed_prepare SOURCE STORE SEED [PARTS]`: prints how many children were killed.  A
script of its own, because forking is safe only where no thread of jax or pytest runs.
"""

import importlib
import os
import random
import signal
import sys

from ssl_jax.data import Data, TextFiles, Unit, build, files, prepare_part, publish, shards, writer
from tests.data import fake_text

prepare = importlib.import_module("ssl_jax.data.prepare")
order = importlib.import_module("ssl_jax.data.order")
corpus = importlib.import_module("ssl_jax.data.corpus")


def kill_at(event: int) -> None:
    """SIGKILL before the event-th write, sync or rename."""
    count = 0

    def counted(function):
        def call(*args, **kwargs):
            nonlocal count
            count += 1
            if count == event:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    writer.HashedFile.write = counted(writer.HashedFile.write)
    files.os.fsync = counted(os.fsync)
    files.os.replace = counted(os.replace)


def run(source: str, store: str, parts: int) -> None:
    data = Data(source=TextFiles(pattern=source, unit=Unit.LINE), store=store, heldout=0.2, num_threads=1)
    if parts == 0:
        prepare.prepare(data, fake_text.Text())
        return
    for part in range(parts):
        prepare_part(data, fake_text.Text(), part, parts)
    publish(data, fake_text.Text())


def main() -> None:
    source, store, seed, *parts = sys.argv[1:]
    parts = int(parts[0]) if parts else 0
    shards.SMALLEST = 1000
    order.text_lib = corpus.text_lib = fake_text
    build.BATCH_DOCUMENTS, build.COMMIT_SECONDS = 7, 0.0
    rng = random.Random(seed)
    killed = 0
    for _ in range(12):
        child = os.fork()
        if child == 0:
            kill_at(rng.randint(1, 150))
            run(source, store, parts)
            os._exit(0)
        rng.random()
        killed += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    run(source, store, parts)
    print(killed)


if __name__ == "__main__":
    main()
