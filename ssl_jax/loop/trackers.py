# SPDX-License-Identifier: Apache-2.0
"""Where metrics go.  metrics.jsonl is the truth; TensorBoard and wandb are copies that may fail."""

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssl_jax.types import UserError


@dataclass(frozen=True, kw_only=True)
class Track:
    """The recipe's track section.  wandb names the project; both copies are extras."""

    tensorboard: bool = False
    wandb: str | None = None


def plain(value: Any) -> Any:
    """A metric as JSON can say it: floats that are not finite become the strings nan, inf and -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


class JsonLines:
    """One object a logged step.  A line is written whole, in one call, and reaches the kernel at once."""

    def __init__(self, path: Path):
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        line = json.dumps({"step": step, **{k: plain(v) for k, v in values.items()}}) + "\n"
        left = memoryview(line.encode())
        while left:  # a disk that fills up takes a part; the next call then says why
            left = left[os.write(self._fd, left) :]

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The logged steps, in order; a last line that was cut short by a kill is left out."""
    lines = []
    if path.exists():
        for raw in path.read_bytes().split(b"\n"):
            try:
                line = json.loads(raw)
            except ValueError:
                continue
            if isinstance(line, dict) and "step" in line:
                lines.append(line)
    return lines


def cut_after(path: Path, step: int) -> int:
    """Drops the lines of later steps, which the resumed run will write again.  Returns how many."""
    lines = read_lines(path)
    kept = [line for line in lines if line["step"] <= step]
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(line) + "\n" for line in kept)
        f.flush()
        os.fsync(f.fileno())
    os.replace(partial, path)
    return len(lines) - len(kept)


class Copies:
    """TensorBoard and wandb.  The first failure of one ends that one, says so once, and nothing else."""

    def __init__(self, track: Track, workdir: Path, name: str, warn: Callable[[str], None]):
        self._warn = warn
        self._sinks: dict[str, tuple[Callable[[int, dict[str, float]], None], Callable[[], None]]] = {}
        if track.tensorboard:
            self._open("tensorboard", lambda: tensorboard(workdir / "tensorboard"))
        if track.wandb is not None:
            self._open("wandb", lambda: wandb(track.wandb, workdir, name))

    def _open(self, name: str, opener: Callable[[], Any]) -> None:
        try:
            self._sinks[name] = opener()
        except ImportError as error:
            raise UserError(f"track.{name} needs an extra: pip install 'ssl_jax[{name}]'") from error
        except Exception as error:
            self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> None:
        self._sinks.pop(name, None)
        self._warn(f"{name} failed and is left out from here on ({error}); metrics.jsonl goes on")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        numbers = {k: float(v) for k, v in values.items() if isinstance(v, (int, float)) and math.isfinite(v)}
        for name, (write, _) in list(self._sinks.items()):
            try:
                write(step, numbers)
            except Exception as error:
                self._failed(name, error)

    def close(self) -> None:
        for name, (_, close) in list(self._sinks.items()):
            try:
                close()
            except Exception as error:
                self._failed(name, error)


def tensorboard(folder: Path):
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(str(folder))

    def write(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, step)

    return write, writer.close


def wandb(project: str | None, workdir: Path, name: str):
    import wandb as client

    run = client.init(project=project, name=name, dir=str(workdir), resume="allow")
    return (lambda step, values: run.log(values, step=step)), run.finish
