# SPDX-License-Identifier: Apache-2.0
"""A workdir: what a run leaves on disk, who may write in it, and what may change when it goes on.

config.json    the Experiment                      metrics.jsonl  one object a logged step
run.json       what was resolved at birth          checkpoints/   sealed checkpoints
recipe.py      the recipe's source, never run      tokenizer/     the tokenizer's files
parameters.txt every leaf: shape, decay, algorithm
summary.json   the final table; its presence means that the run is finished
"""

import fcntl
import json
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ssl_jax import config
from ssl_jax.loop.kept import saved_steps
from ssl_jax.loop.seal import write_atomically
from ssl_jax.types import Failure, UserError

OURS = (
    "run.json",
    "recipe.py",
    "summary.json",
    "metrics.jsonl",
    "parameters.txt",
    "loss.svg",
    "error.log",
    "config.json",
)
OURS_FOLDERS = ("checkpoints", "tokenizer", "tensorboard", "wandb")
MEETING = ".meeting"  # what several processes write to each other before they begin
FIRST = (".lock", MEETING, "config.json.partial")  # what a start that was killed at once may leave


class Workdir:
    """One run's folder.  Opening it for writing takes a lock that dies with the process."""

    def __init__(self, path: Path):
        self.path = path
        self.metrics = path / "metrics.jsonl"
        self.parameters = path / "parameters.txt"
        self.checkpoints = path / "checkpoints"
        self.tokenizer = path / "tokenizer"
        self._lock: int | None = None

    # --------------------------------------------------------------------------------------- lock

    def lock(self) -> None:
        """Raises UserError where another process writes here, Failure where nothing can be written."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
        except FileExistsError:
            raise UserError(f"{self.path} is a file; name a folder with --workdir") from None
        except OSError as error:
            raise Failure(f"cannot write in {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 200).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise UserError(
                f"{self.path} is in use by {holder}; wait for it, or choose another --workdir"
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._lock = fd

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # ------------------------------------------------------------------------------------- record

    def exists(self) -> bool:
        return (self.path / "config.json").exists()

    def is_foreign(self) -> bool:
        """Holds something, but no run of ours."""
        return not self.exists() and any(p.name not in FIRST for p in self.path.iterdir())

    def is_begun(self) -> bool:
        """Whether a run came as far as its first step; before that nothing is worth going on with."""
        return bool(self.resolved()) or bool(saved_steps(self.checkpoints))

    def clear(self) -> None:
        """Removes the run, and only what a run makes; config.json, the proof that it is ours, last."""
        for name in OURS_FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)
        for name in OURS:
            (self.path / name).unlink(missing_ok=True)

    def experiment(self) -> Any:
        try:
            tree = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"{self.path} is no workdir: it has no config.json") from None
        except ValueError as error:
            raise UserError(f"{self.path}/config.json cannot be read ({error})") from None
        return config.from_json(tree)

    def record(self, experiment: Any, recipe_source: str | None) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.path / "config.json", config.to_json(experiment))  # first: it makes the folder ours
        if recipe_source is not None:
            write_atomically(self.path / "recipe.py", recipe_source)

    def resolved(self) -> dict[str, Any]:
        """What was fixed at birth; empty where the run never came that far."""
        return read_json(self.path / "run.json")

    def resolve(self, facts: dict[str, Any]) -> None:
        write_json(self.path / "run.json", facts)

    def summary(self) -> dict[str, Any]:
        return read_json(self.path / "summary.json")

    def keep_tokenizer(self, source: Path) -> None:
        """A copy of the tokenizer's files, so that the workdir needs no cache."""
        if self.tokenizer.exists():
            return
        partial = self.path / "tokenizer.partial"
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        partial.rename(self.tokenizer)

    # ------------------------------------------------------------------------------------- resume

    def refuse_changes(self, experiment: Any, longer: bool) -> list[config.Change]:
        """The free changes against the recorded experiment.

        longer: whether the schedule permits another duration.  Raises UserError that shows every change
        which needs --branch or --fresh.
        """
        tree = read_json(self.path / "config.json")
        changes = config.diff(tree, experiment)
        free = [c for c in changes if c.kind == "free" or (longer and c.path.startswith("loop.duration"))]
        refused = [c for c in changes if c not in free]
        if refused:
            shown = "; ".join(f"{c.path} was {c.old}, now {c.new}" for c in refused)
            branch = all(c.kind == "branch" for c in refused)
            way = (
                f"branch off with --workdir NEW --branch {self.path}@STEP"
                if branch
                else "choose another --workdir, or start anew with --fresh"
            )
            raise UserError(
                f"{self.path} holds a run of another recipe: {shown}. To go on, undo that; or {way}"
            )
        return free


def write_json(path: Path, tree: Any) -> None:
    write_atomically(path, json.dumps(tree, indent=1) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise UserError(f"{path} cannot be read ({error}); start anew with --fresh") from None


def split_step(model: str) -> tuple[Path, int | None]:
    """WORKDIR, WORKDIR@STEP, or WORKDIR/checkpoints/STEP -> (WORKDIR, step)."""
    base, at, step = model.rpartition("@")
    if at and step.isdigit():
        return Path(base), int(step)
    path = Path(model)
    if path.name.isdigit() and path.parent.name == "checkpoints":
        return path.parent.parent, int(path.name)
    return path, None


def changed(changes: Sequence[config.Change]) -> str:
    return "; ".join(f"{c.path}: {c.old} -> {c.new}" for c in changes)
