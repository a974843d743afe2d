# SPDX-License-Identifier: Apache-2.0
"""Arrays of plans on local disk: built once, published atomically, memory-mapped, bounded.

Layout: `<root>/<plan's key>/<name>/<array>.npy`, where name is `fixed` or an epoch's number.  The root is
`$SSL_JAX_CACHE/plans`, by default `~/.cache/ssl_jax/plans`.  Everything in it can be deleted at any time:
an open plan keeps what it has mapped, and what is missing is built again.
"""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]
SMALLEST = 1 << 20  # bytes; what is smaller is built faster than a file is opened
UNUSED_DAYS = 30


def root() -> Path:
    return Path(os.environ.get("SSL_JAX_CACHE") or Path.home() / ".cache/ssl_jax") / "plans"


def fixed(key: str, size: int, build: Callable[[], Arrays]) -> Arrays:
    """The arrays of a plan that are the same in every epoch; size: about how many bytes they are."""
    return _cached(key, "fixed", size, build)


def of_epoch(key: str, epoch: int, size: int, build: Callable[[], Arrays]) -> Arrays:
    """The arrays of one epoch; publishing one removes those of epochs other than it and the one before."""
    return _cached(key, str(epoch), size, build)


def _cached(key: str, name: str, size: int, build: Callable[[], Arrays]) -> Arrays:
    if size < SMALLEST:
        return build()
    folder = root() / key / name
    found = _read(folder)
    if found is not None:
        return found
    arrays = build()
    try:
        _publish(folder, arrays)
    except OSError:  # a full or read-only disk costs memory, not the run
        return arrays
    _prune(folder)
    return _read(folder) or arrays


def _read(folder: Path) -> Arrays | None:
    """None: not there, torn, or removed by another process while we looked."""
    try:
        files = sorted(folder.glob("*.npy"))
        arrays = {f.stem: np.load(f, mmap_mode="r") for f in files}
    except (OSError, ValueError, EOFError):
        shutil.rmtree(folder, ignore_errors=True)  # so that a sound one can take its place
        return None
    if not arrays:
        return None
    with contextlib.suppress(OSError):  # another user's cache
        os.utime(folder.parent)
    return arrays


def _publish(folder: Path, arrays: Arrays) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder.parent))
    try:
        for name, array in arrays.items():
            with open(draft / f"{name}.npy", "wb") as file:
                np.save(file, array)
                file.flush()
                os.fsync(file.fileno())  # or a crash of the machine could leave a whole name over torn bytes
        draft.rename(folder)
    except OSError:
        shutil.rmtree(draft, ignore_errors=True)
        if not folder.exists():  # otherwise another process was faster: its arrays equal ours
            raise


def _prune(folder: Path) -> None:
    if folder.name != "fixed":
        keep = {"fixed", folder.name, str(int(folder.name) - 1)}
        for other in folder.parent.iterdir():
            if other.name not in keep and not other.name.startswith("."):
                shutil.rmtree(other, ignore_errors=True)
    oldest = time.time() - UNUSED_DAYS * 86400
    for other in folder.parent.parent.iterdir():
        try:
            unused = other.stat().st_mtime < oldest
        except OSError:  # removed by another process
            continue
        if unused:
            shutil.rmtree(other, ignore_errors=True)
