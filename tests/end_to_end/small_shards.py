# SPDX-License-Identifier: Apache-2.0
"""`ssl-jax` with shards of 4,000 characters, so that a small corpus has several; with $KILLED_AT=N the
process is killed as it is about to write its N-th shard."""

import os
import signal
import sys

from ssl_jax.cli.main import main
from ssl_jax.data import shards


def kill_at(number: int) -> None:
    write, count = shards.write, 0

    def counted(*args):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
        write(*args)

    shards.write = counted


if __name__ == "__main__":
    shards.SMALLEST = 4000
    if "KILLED_AT" in os.environ:
        kill_at(int(os.environ["KILLED_AT"]))
    sys.exit(main())
