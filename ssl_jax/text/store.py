# SPDX-License-Identifier: Apache-2.0
"""Tokenizer directories: written atomically, opened by `load`."""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_jax.types import UserError

META = "tokenizer_meta.json"


def write_dir(out_dir: Path, files: Mapping[str, bytes], kind: str, settings: Mapping[str, Any]) -> None:
    """Writes the files and `tokenizer_meta.json` into out_dir, whole or not at all.

    An existing directory is replaced.  The meta file holds neither times nor paths, so that the same
    text and settings give the same bytes everywhere.
    """
    out_dir = Path(out_dir)
    out_dir.parent.mkdir(parents=True, exist_ok=True)
    scratch = out_dir.with_name(f".{out_dir.name}.{os.getpid()}.tmp")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        meta = {"kind": kind, "settings": dict(settings), "files": {n: _sha256(b) for n, b in files.items()}}
        text = json.dumps(meta, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for name, data in {**files, META: text.encode()}.items():
            with open(scratch / name, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        if out_dir.exists():
            shutil.rmtree(out_dir)
        scratch.rename(out_dir)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def read_dir(directory: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """(meta, name -> bytes) of a tokenizer directory; UserError where it is none or was damaged."""
    directory = Path(directory)
    try:
        meta = json.loads((directory / META).read_bytes())
        files = {name: (directory / name).read_bytes() for name in meta["files"]}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{directory} is no tokenizer of ssl-jax ({error}): prepare the data again") from None
    for name, data in files.items():
        if _sha256(data) != meta["files"][name]:
            raise UserError(f"{directory / name} was changed or damaged: prepare the data again")
    return meta, files


def fingerprint(kind: str, files: Mapping[str, bytes], settings: Mapping[str, Any]) -> str:
    """sha256 over the kind, the settings and the files' contents."""
    digest = hashlib.sha256(json.dumps([kind, dict(settings)], sort_keys=True).encode())
    for name in sorted(files):
        digest.update(f"{name}:{_sha256(files[name])}".encode())
    return digest.hexdigest()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
