# SPDX-License-Identifier: Apache-2.0
"""Seals: the sha256 of every file of a checkpoint, written and synced after its commit.

A checkpoint library notices a torn save, but restores flipped bits silently; the seal does not.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_jax.data.files import fsync_dir, sha256_of


def write_atomically(path: Path, content: str | bytes) -> None:
    """All of the content under this name, or nothing; survives a power cut.  Text is written as UTF-8."""
    partial = path.with_name(path.name + ".partial")
    with open(partial, "wb") as f:
        f.write(content.encode() if isinstance(content, str) else content)
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, path)
    fsync_dir(path.parent)


def files_of(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


def seal(folder: Path, manifest: Path, facts: Mapping[str, Any]) -> None:
    """Writes the manifest of a committed folder.  Its files and folders are synced first."""
    hashes = {}
    for path in files_of(folder):
        with open(path, "rb") as f:
            os.fsync(f.fileno())
        hashes[path.relative_to(folder).as_posix()] = sha256_of(path)
    for inner in [p for p in folder.rglob("*") if p.is_dir()] + [folder, folder.parent]:
        fsync_dir(inner)
    manifest.parent.mkdir(exist_ok=True)
    write_atomically(manifest, json.dumps({"files": hashes, **facts}, indent=1, sort_keys=True) + "\n")


def read(manifest: Path) -> dict[str, Any] | None:
    """The seal, or None where there is none that can be read."""
    try:
        loaded = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return loaded if isinstance(loaded, dict) and isinstance(loaded.get("files"), dict) else None


def damage(folder: Path, sealed: Mapping[str, Any]) -> str | None:
    """What is wrong with a sealed folder, naming the file; None where all is as it was."""
    present = {p.relative_to(folder).as_posix() for p in files_of(folder)}
    expected = sealed["files"]
    if missing := sorted(set(expected) - present):
        return f"{missing[0]} is missing"
    if extra := sorted(present - set(expected)):
        return f"{extra[0]} was not there when it was saved"
    for name, sha in expected.items():
        if sha256_of(folder / name) != sha:
            return f"{name} is not what was written (sha256 differs)"
    return None
