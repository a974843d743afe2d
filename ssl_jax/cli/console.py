# SPDX-License-Identifier: Apache-2.0
"""What a command prints: results on stdout; progress, warnings and errors on stderr.

On a terminal progress is a bar with the time left; in a log it is a plain line every few seconds.  Anything
with the methods of `Console` serves `ssl_jax.run`, which never imports this module.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ssl_jax.cli.format import BOLD, YELLOW, cell, duration, human, is_terminal, styled, width


class Console:
    """Prints for people.  Safe to call from several threads; `quiet = True` silences all but warnings.

    keep_going: a reader that went away (a closed terminal, ``| head``) silences the console and never stops
    the run.  interval: seconds between two lines of a log.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        *,
        keep_going: bool = False,
        interval: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.quiet = False
        self._out = out or sys.stdout
        self._err = err or sys.stderr
        self._keep_going = keep_going
        self._interval = interval
        self._clock = clock
        self._lock = threading.RLock()
        self._stages: dict[str, _Stage] = {}
        self._status: str | None = None
        self._warned: set[str] = set()
        self._bars: Any = None  # rich's Progress while a bar is shown

    # --------------------------------------------------------------------------------------- results

    def print(self, text: str = "") -> None:
        """A line (or several) of result on stdout, above the bars if there are any."""
        if not self.quiet:
            self._write(self._out, text)

    def write(self, text: str) -> None:
        """A part of a line of result on stdout, at once: text that is still being written."""
        with self._lock, self._surviving():
            self._out.write(text)
            self._out.flush()

    def table(self, title: str, rows: Sequence[Sequence[Any]], header: Sequence[str] | None = None) -> None:
        """Aligned columns on stdout; numbers flush right, floats with four decimals, None as a dash."""
        cells = [[cell(value) for value in row] for row in rows]
        numeric = [
            all(isinstance(row[i], (int, float)) or row[i] is None for row in rows if i < len(row))
            for i in range(max((len(row) for row in rows), default=0))
        ]
        lines = ([list(header)] if header else []) + cells
        widths = [max(width(line[i]) for line in lines if i < len(line)) for i in range(len(numeric))]

        def aligned(line: list[str]) -> str:
            padded = []
            for i, text in enumerate(line):
                space = " " * (widths[i] - width(text))
                padded.append(space + text if numeric[i] else text + space)
            return ("  " + "  ".join(padded)).rstrip()

        text = [styled(title, BOLD, self._out)] + [aligned(line) for line in lines]
        if header:
            text.insert(2, "  " + "  ".join("-" * w for w in widths))
        self.print("\n".join(text))

    def warn(self, text: str) -> None:
        """Something that the user should know and that stops nothing.  Said once, however often it is so."""
        if text not in self._warned:
            self._warned.add(text)
            self._write(self._err, f"{styled('warning:', YELLOW, self._err)} {text}")

    # -------------------------------------------------------------------------------------- progress

    def progress(self, stage: str, done: int, total: int | None = None, unit: str = "") -> None:
        """`done` of `total` units of a stage (types.Progress).  done == total ends it, and so does another
        stage where the total is None."""
        with self._lock:
            if self.quiet:
                return
            self._end_status()
            now = self._clock()
            state = self._stages.get(stage) or _Stage(now, done, now - self._interval)
            is_new = stage not in self._stages
            if is_new:
                self._end_unbounded()
            self._stages[stage] = state
            state.bounded = total is not None
            ended = total is not None and done >= total
            amount = f"{done:,}" + (f"/{total:,}" if total is not None else "") + f" {unit}".rstrip()
            seconds, gone = now - state.begin, done - state.first
            if ended:
                took = f"  in {duration(seconds)}" if seconds >= 1 else ""
                return self._end(stage, f"{stage}: {done:,} {unit}".rstrip() + took)
            if gone > 0 and seconds > 0:
                amount += f"  {human(gone / seconds)}/s"
                if total is not None:
                    amount += f"  ETA {duration(seconds / gone * (total - done))}"
            if done == 0 and total is None:  # nothing is counted yet, and perhaps nothing will be
                return self._show(stage, stage, "", done, total, is_new)
            self._show(stage, f"{stage}: {amount}", amount, done, total, is_new)

    def step(self, step: int, total: int, metrics: Mapping[str, Any], eta_s: float | None = None) -> None:
        """A logged step of training, of `total`; of the metrics, those that _SHOWN names."""
        with self._lock:
            if self.quiet:
                return
            self._end_status()
            parts = [f"{label} {show(metrics[name])}" for name, label, show in _SHOWN if name in metrics]
            parts += [f"ETA {duration(eta_s)}"] if eta_s is not None and step < total else []
            text = "  ".join(parts)
            line = f"step {step:>{len(f'{total:,}')},}/{total:,}  {text}"
            is_new = "step" not in self._stages
            if is_new:
                self._end_unbounded()
            self._stages.setdefault("step", _Stage(0.0, 0, self._clock() - self._interval))
            if step >= total:
                return self._end("step", line)
            if self._bars is not None and any(name.startswith("heldout/") for name in metrics):
                self._write(self._err, line)  # the rare ones stay on the screen
            self._show("step", line, f"{step:,}/{total:,}  {text}", step, total, is_new)

    def status(self, text: str) -> None:
        """What the command is busy with, until the next status, step or stage."""
        with self._lock:
            if self.quiet:
                return
            self._end_status()
            if is_terminal(self._err):
                self._stages[text] = _Stage(0.0, 0, 0.0)
                self._status = text
                self._show(text, text, "", 0, None, True)
            else:
                self._write(self._err, text)

    def close(self) -> None:
        """End every bar and give the terminal back as it was.  May be called twice."""
        with self._lock:
            self._stages.clear()
            self._status = None
            if self._bars is not None:
                with contextlib.suppress(OSError, ValueError):
                    self._bars.stop()
                self._bars = None

    def __enter__(self) -> "Console":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    # ---------------------------------------------------------------------------------------- inside

    def _end_status(self) -> None:
        text, self._status = self._status, None
        state = self._stages.pop(text, None) if text is not None else None
        if state is not None:
            self._remove(state)

    def _end_unbounded(self) -> None:
        """A stage of unknown length is over when another begins."""
        for stage in [name for name, state in self._stages.items() if not state.bounded]:
            self._remove(self._stages.pop(stage))

    def _remove(self, state: "_Stage") -> None:
        if state.bar is not None and self._bars is not None:
            self._bars.remove_task(state.bar)
            if not self._bars.tasks:
                self._bars.stop()
                self._bars = None

    def _show(self, stage: str, line: str, text: str, done: int, total: int | None, is_new: bool) -> None:
        state = self._stages[stage]
        if is_terminal(self._err):
            with self._surviving():
                if self._bars is None:
                    self._bars = _bars(self._err)
                    self._bars.start()
                if state.bar is None:
                    state.bar = self._bars.add_task(stage, total=total, text=text)
                self._bars.update(state.bar, completed=done, total=total, text=text)
        elif is_new or self._clock() - state.shown >= self._interval:
            state.shown = self._clock()
            self._write(self._err, line)

    def _end(self, stage: str, line: str) -> None:
        self._remove(self._stages.pop(stage))
        self._write(self._err, line)

    def _write(self, stream: TextIO, text: str) -> None:
        with self._lock, self._surviving():
            if self._bars is not None and is_terminal(stream):
                from rich.text import Text

                # As text: [MASK] and [sep] are no markup, and a styled title has its own escapes.
                self._bars.console.print(Text.from_ansi(text), soft_wrap=True)
            else:
                stream.write(text + "\n")
                stream.flush()

    @contextlib.contextmanager
    def _surviving(self):
        try:
            yield
        except OSError:  # EPIPE, or EIO of a terminal that was closed
            if not self._keep_going:
                raise
            self.quiet = True
            self._out = self._err = open(os.devnull, "w")  # noqa: SIM115  (for the rest of the process)


@dataclass
class _Stage:
    """begin, shown: clock; first: what was done when it began; bar: of rich; bounded: total is known."""

    begin: float
    first: int
    shown: float
    bar: Any = None
    bounded: bool = True


def _bars(stream: TextIO) -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, Progress, TextColumn

    columns = TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)
    text = TextColumn("{task.fields[text]}", markup=False)
    return Progress(*columns, text, console=RichConsole(file=stream, highlight=False), refresh_per_second=4)


# metric -> label and format of the training line
_SHOWN: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("loss", "loss", "{:.4f}".format),
    ("heldout/loss", "held-out", "{:.4f}".format),
    ("lr", "lr", "{:.2e}".format),
    ("tokens_per_s", "tokens/s", human),
    ("mfu", "MFU", "{:.1%}".format),
)
