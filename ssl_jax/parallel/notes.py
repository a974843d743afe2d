# SPDX-License-Identifier: Apache-2.0
"""What the processes of a run write to each other before they meet: notes, and process 0's verdict."""

import json
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLOCKS = 5.0  # seconds that two clocks may differ


@dataclass(frozen=True)
class Seat:
    """Which process of how many this is.  coordinator: host:port of process 0 where that is known."""

    process: int
    num_processes: int
    coordinator: str | None = None


@dataclass(frozen=True)
class Note:
    """What a process says of itself.

    facts: JSON that must be the same everywhere (None: not known yet); mistake: an exit status and a line,
    spoken: which somebody has printed.
    heard, reached: the nonce of process 0, once its note and its door were found; trouble: why the door
    wasn't.  behind: seconds that process 0's clock is ahead of this one, a lower bound.
    """

    process: int
    num_processes: int
    coordinator: str | None
    host: str
    nonce: str
    facts: Any = None
    mistake: tuple[int, str] | None = None
    spoken: bool = False
    heard: str = ""
    reached: str = ""
    trouble: str = ""
    behind: float = -1e9
    beat: int = 0
    time: float = 0.0

    @property
    def who(self) -> str:
        return f"process {self.process} on {self.host}"


@dataclass(frozen=True)
class Verdict:
    """What process 0 found: the exit status for all, 0 to go on.  nonces: of the notes that it is about."""

    nonces: list[str]
    status: int


class Notes:
    """The notes in a folder.  Those that change have writers; others are of an earlier attempt.

    patience: seconds without a change after which a writer has gone.
    """

    def __init__(self, folder: Path, *, patience: float):
        self.folder, self.patience = folder, patience
        self._notes: dict[int, Note] = {}
        self._changed: dict[int, float] = {}  # when a note came or changed; those that were there first don't
        self._since: dict[str, float] = {}  # nonce -> when it was first seen
        self._looked: set[int] = set()

    def look(self, processes: Iterable[int] | None = None) -> None:
        """Reads the notes of these processes, or all that are there."""
        found = {}
        every = processes is None
        if processes is None:
            processes = [int(p.stem) for p in self.folder.glob("*.json") if p.stem.isdigit()]
        for process in processes:
            if note := read(Note, self.folder / f"{process}.json"):
                found[process] = note
        for process, note in found.items():
            before = self._notes.get(process)
            is_new = before is None and (process in self._looked or -1 in self._looked)
            if is_new or (before is not None and (before.nonce, before.beat) != (note.nonce, note.beat)):
                self._changed[process] = time.monotonic()
            self._notes[process] = note
        self._looked |= {-1} if every else set(processes)

    def alive(self) -> dict[int, Note]:
        """The notes with writers, by process."""
        limit = time.monotonic() - self.patience
        return {i: self._notes[i] for i, changed in sorted(self._changed.items()) if changed > limit}

    def since(self, nonce: str) -> float:
        """Seconds since this was asked first."""
        return time.monotonic() - self._since.setdefault(nonce, time.monotonic())

    def host(self, process: int) -> str | None:
        """Where a process is, or was."""
        return self._notes[process].host if process in self._notes else None


def read(kind: type, path: Path) -> Any:
    """What a file holds; None where there is none, or not one of ours."""
    try:
        return kind(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def difference(here: Any, there: Any, name: str = "") -> tuple[str, Any, Any] | None:
    """(name, here, there) of the first leaf in which two trees of JSON differ."""
    if here == there:
        return None
    if isinstance(here, dict) and isinstance(there, dict):
        for key in sorted(here.keys() | there.keys()):
            if found := difference(here.get(key), there.get(key), f"{name}.{key}".lstrip(".")):
                return found
    return name, here, there


def unequal(here: Note, there: Note) -> str | None:
    """What a process has that this one hasn't, as a line; None where both could train together."""
    for option, mine, theirs in (
        ("--num-processes", here.num_processes, there.num_processes),
        ("--coordinator", here.coordinator, there.coordinator),
    ):
        if mine != theirs:
            return f"{there.who} was started with {option} {theirs}, {here.who} with {mine}"
    if there.facts is None or not (found := difference(here.facts, there.facts)):
        return None
    name, mine, theirs = found
    return (
        f"{name} is {theirs} in {there.who} and {mine} in {here.who}: all must start from the same files and "
        "packages"
    )


def apart(here: Note, there: Note, now: float) -> str | None:
    """That the other's clock is off.  How long a note took is not known: both see a lower bound."""
    for seconds, word in ((there.time - now, "ahead of"), (there.behind, "behind")):
        if seconds > CLOCKS:
            return f"the clock of {there.who} is {seconds:.0f} s {word} that of {here.host}: set both by NTP"
    return None
