# SPDX-License-Identifier: Apache-2.0
"""The processes of one run meet in a folder that all of them share, before any of them claims a device.

Each writes a note, I.json, anew every beat: who it is, what it would train on, its mistake if it has one.
Process 0 compares the notes and writes verdict.json, which quotes the nonce of every note that it judged:
nobody takes the verdict of an earlier attempt for its own.  Notes that an earlier attempt left are known by
not changing any more.  No clock and no id of a job is needed, and a host may come twenty minutes late.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from ssl_jax.parallel.door import Door, call, split, trouble
from ssl_jax.parallel.notes import Note, Notes, Seat, Verdict, apart, read, unequal
from ssl_jax.types import Failure, Told, UserError

SAY_FIRST, SAY_EVERY = 10.0, 60.0  # seconds


class Meeting:
    """`with Meeting(...) as meeting:` and in it attend(): returns once all are there and equal.

    folder: which all share.  seconds: how long to wait for all.  say: prints who is missing; complain: prints
    a mistake.  beat: seconds between two notes.  settle: seconds in which a process that is there will have
    answered.

    A mistake inside, before attend(), is told to the others as they come: one process prints it, all raise
    Told with its exit status.
    """

    def __init__(
        self,
        folder: Path,
        seat: Seat,
        *,
        seconds: float,
        say: Callable[[str], None],
        complain: Callable[[str], None],
        beat: float | None = None,
        settle: float = 20.0,
    ):
        self.folder, self.seat, self.seconds = folder, seat, seconds
        self._say, self._complain = say, complain
        self._beat = beat or min(max(0.5, seat.num_processes / 100), 5.0)
        self._settle = max(settle, 4 * self._beat)  # what is heard is written one or two beats later
        self._notes = Notes(folder, patience=10 * self._beat + self._settle)
        host, nonce = socket.gethostname(), secrets.token_hex(8)
        self._note = Note(seat.process, seat.num_processes, seat.coordinator, host, nonce)
        self._began = self._said = time.monotonic()
        self._clock = time.time
        self._over = self._mute = False

    def __enter__(self) -> "Meeting":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        if self._over or not isinstance(error, Exception):
            return
        foreseen = isinstance(error, UserError | Failure)
        line = str(error) if foreseen else f"{type(error).__name__}: {error}"
        verdict = self._meet(replace(self._note, mistake=(status_of(error), line)))
        if foreseen:  # what nobody foresaw goes on up, to be reported with its traceback
            raise Told(verdict.status) from error

    def attend(self, facts: Any) -> None:
        """Waits for all.  facts: JSON that must be the same everywhere, such as {"recipe": ..., ...}."""
        if status := self._meet(replace(self._note, facts=facts)).status:
            raise Told(status)

    def close(self) -> None:
        """Once all have left: removes the notes."""
        if self.seat.process == 0:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _meet(self, note: Note) -> Verdict:
        self._over, self._note = True, note
        return self._lead() if self.seat.process == 0 else self._follow()

    @property
    def _waited(self) -> float:
        return time.monotonic() - self._began

    # ---------------------------------------------------------------------------------- process 0

    def _lead(self) -> Verdict:
        with contextlib.ExitStack() as stack:
            at = self._open_door(stack)
            while True:
                self._notes.look()
                self._look_for_twin()
                self._post()
                callers = at.notes() if at else {}
                status, line = self._judge(callers)
                missing = self._missing()
                if line or not missing:
                    break
                self._tell(missing)
                self._pause()
            wrong = self._note if self._note.mistake else self._wrong(callers)
            if line and not (wrong and wrong.spoken):
                self._complain(line)
            return self._announce(status, at)

    def _open_door(self, stack: contextlib.ExitStack) -> Door | None:
        if self.seat.coordinator is None:
            return None
        try:
            at = Door(split(self.seat.coordinator)[1], self._note.nonce)
        except UserError as error:
            self._note = replace(self._note, mistake=self._note.mistake or (2, str(error)))
            return None
        stack.callback(at.close)
        return at

    def _announce(self, status: int, at: Door | None) -> Verdict:
        """Tells all that are there; of a mistake also those that come later."""
        beats, everyone, told = 0, set(range(1, self.seat.num_processes)), {}
        while True:
            present = {**(at.notes() if at else {}), **self._notes.alive()}
            told |= {note.nonce: process for process, note in present.items()}
            verdict = Verdict(list(told), status)
            self._write("verdict", verdict)
            if at:
                at.verdict = asdict(verdict)
            beats += 1
            late = self._waited > self.seconds + self._settle or (self._mute and not at)
            if status == 0 or late or (everyone <= set(told.values()) and beats > 3):
                return verdict
            self._pause(status)
            self._post()
            self._notes.look()

    def _missing(self) -> list[int]:
        """Processes that have no note, or have not yet found process 0's."""
        ready = {0} | {i for i, note in self._notes.alive().items() if self._found(note)}
        return [i for i in range(self.seat.num_processes) if i not in ready]

    def _found(self, note: Note) -> bool:
        me = self._note.nonce
        return note.heard == me and (note.reached == me or not self.seat.coordinator)

    def _wrong(self, callers: dict[int, Note]) -> Note | None:
        """The first note with a mistake."""
        present = {**callers, **self._notes.alive()}
        return next((note for i, note in sorted(present.items()) if i != 0 and note.mistake), None)

    def _judge(self, callers: dict[int, Note]) -> tuple[int, str]:
        """The exit status and the line of what is wrong; (0, "") where nothing is, as far as one can see."""
        if self._note.mistake:
            return self._note.mistake
        if wrong := self._wrong(callers):
            return wrong.mistake[0], f"{wrong.who}: {wrong.mistake[1]}"
        alive = self._notes.alive()
        for process, note in alive.items():
            if process != 0 and (
                line := unequal(self._note, note)
                or apart(self._note, note, self._clock())
                or self._lost(note)
            ):
                return 2, line
        for process, note in callers.items():
            if process not in alive and self._notes.since(note.nonce) > self._settle:
                return 2, (
                    f"{note.who} reaches process 0, but they don't see each other's files in "
                    f"{self.folder.parent}: --workdir must be a folder that all hosts share"
                )
        return (1, self._gave_up(self._missing())) if self._waited > self.seconds else (0, "")

    def _lost(self, note: Note) -> str | None:
        """That a process finds process 0 neither by its note nor at the coordinator's address."""
        if self._found(note) or self._notes.since(note.nonce) < self._settle:
            return None
        if note.heard != self._note.nonce:
            return f"{note.who} doesn't see what {self._note.who} writes in {self.folder.parent}"
        return (
            f"{note.who} doesn't reach process 0 at {self.seat.coordinator} ({note.trouble}); name in "
            f"--coordinator an address of {self._note.host} that all hosts reach"
        )

    # --------------------------------------------------------------------------------- the others

    def _follow(self) -> Verdict:
        me = self._note.nonce
        while True:
            self._notes.look([0, self.seat.process])
            self._look_for_twin()
            self._post()
            leader = self._notes.alive().get(0)
            if leader:
                behind = max(self._note.behind, leader.time - self._clock())
                self._note = replace(self._note, heard=leader.nonce, behind=behind)
            else:  # it may have gone since its door was reached
                self._note = replace(self._note, reached="")
            for verdict in (read(Verdict, self.folder / "verdict.json"), self._call()):
                if verdict and me in verdict.nonces:
                    return verdict
            if not self._note.reached and (not leader or self._mute):
                self._alone()
                if self._note.spoken and (self._mute or self._waited > self.seconds + self._settle):
                    return Verdict([me], self._note.mistake[0])
            self._pause(self._note.mistake[0] if self._note.mistake else 0)

    def _alone(self) -> None:
        """Process 0 hears nothing from here: the first of those that are there speaks."""
        if not self._note.mistake and self._waited > self.seconds:
            self._note = replace(self._note, mistake=(1, self._gave_up([0])))
        if not self._note.mistake:
            self._tell([0])
        elif not self._note.spoken and self._waited > self._settle:
            if self._is_first():
                self._complain(self._note.mistake[1])
            self._note = replace(self._note, spoken=True)

    def _is_first(self) -> bool:
        lower = range(self.seat.process)
        self._notes.look(lower)
        return not any(i in lower for i in self._notes.alive())

    def _call(self) -> Verdict | None:
        """Tries the coordinator's door until process 0 was found in both ways; what it said of a verdict."""
        note = self._note
        if self.seat.coordinator is None or (note.heard and note.heard == note.reached):
            return None
        try:
            answer = call(self.seat.coordinator, asdict(note))
            self._note = replace(note, reached=str(answer["nonce"]), trouble="")
            return answer["verdict"] and Verdict(**answer["verdict"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._note = replace(note, trouble=trouble(self.seat.coordinator, error))
            return None

    # ----------------------------------------------------------------------------------- together

    def _look_for_twin(self) -> None:
        """Before this one writes its own note over the other's: right after it, it would find only that."""
        twin = self._notes.alive().get(self.seat.process)
        if twin and twin.nonce != self._note.nonce:
            line = f"two processes have the number {twin.process}, on {twin.host} and {self._note.host}"
            self._note = replace(self._note, mistake=self._note.mistake or (2, line))

    def _pause(self, status: int = 0) -> None:
        """A beat.  A signal ends a process whose exit status is known with that."""
        try:
            time.sleep(self._beat)
        except BaseException:
            if status:
                raise Told(status) from None
            raise

    def _post(self) -> None:
        self._note = replace(self._note, beat=self._note.beat + 1, time=self._clock())
        self._write(str(self.seat.process), self._note)

    def _write(self, name: str, content: Note | Verdict) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            partial = self.folder / f"{name}.{self._note.nonce}"
            partial.write_text(json.dumps(asdict(content)), encoding="utf-8")
            os.replace(partial, self.folder / f"{name}.json")
        except OSError as error:  # it can still be told at the coordinator's door
            self._mute = True
            line = f"cannot write in {self.folder.parent}: {error.strerror}"
            self._note = replace(self._note, mistake=self._note.mistake or (2, line))

    def _tell(self, missing: list[int]) -> None:
        """Says who is missing, now and then."""
        now = time.monotonic()
        if now - self._said > (SAY_FIRST if self._said == self._began else SAY_EVERY):
            self._said = now
            if self.seat.process == 0 or self._is_first():
                limit = f"{self.seconds / 60:.0f} min at most"
                self._say(f"waiting for {self._names(missing)} since {self._waited:.0f} s, {limit}")

    def _gave_up(self, missing: list[int]) -> str:
        return (
            f"{self._names(missing)} didn't come within {self.seconds / 60:.0f} min: look at its log, and "
            f"whether its {self.folder.parent} is this folder"
        )

    def _names(self, processes: list[int]) -> str:
        shown = [f"{i} ({host})" if (host := self._notes.host(i)) else str(i) for i in processes[:8]]
        more = f" and {len(processes) - 8} more" if len(processes) > 8 else ""
        word = "process" if len(processes) == 1 else "processes"
        return f"{word} {', '.join(shown)}{more} of {self.seat.num_processes}"


def status_of(error: BaseException) -> int:
    return 2 if isinstance(error, UserError | PermissionError) else 1
