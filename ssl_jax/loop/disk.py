# SPDX-License-Identifier: Apache-2.0
"""A disk without room for a checkpoint, as one line."""

import contextlib
import shutil
from pathlib import Path

from ssl_jax.loop.state import State, flat
from ssl_jax.types import Failure


def check_room(folder: Path, state: State) -> None:
    """Raises Failure where the state will not fit, before a library's threads each say so at length."""
    needed, free = sum(leaf.nbytes for leaf in flat(state).values()), shutil.disk_usage(folder).free
    if free < needed:
        raise full(folder, f" ({needed / 1e6:.0f} MB needed, {free / 1e6:.0f} MB free)")


def full(folder: Path, detail: str = "") -> Failure:
    return Failure(
        f"the disk of {folder} is full{detail}: the checkpoint was not saved, earlier ones are intact; "
        "make room and run the same command again"
    )


@contextlib.contextmanager
def disk_errors(folder: Path):
    """A full disk, however deep it was hit, as one line."""
    try:
        yield
    except Exception as error:
        text = f"{error!r} {error.__cause__!r} {error.__context__!r}"
        if "No space left" in text or "ENOSPC" in text or "Disk quota" in text:
            raise full(folder) from error
        raise
