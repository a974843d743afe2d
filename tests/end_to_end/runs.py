# SPDX-License-Identifier: Apache-2.0
"""The real command on a corpus of made-up sentences: what the end-to-end tests start, kill and compare."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ssl_jax.loop.checkpoint import read_leaves
from ssl_jax.loop.kept import saved_steps

ROOT = Path(__file__).resolve().parents[2]

# Dropout, accumulation, an average of the weights and a log line a step: all that a resume can lose.
RECIPE = """
from ssl_jax.data import Data, Pairs, Unit
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import BertPretraining
from ssl_jax.optim import Constant, Linear, Optim
from ssl_jax.text import SentencePiece, Text


def config(schedule=Linear(warmup=0.1)):
    return Experiment(
        model=BertConfig(
            num_layers=2, dim=32, num_heads=2, max_positions=32, dropout=0.1, attention_dropout=0.1
        ),
        objective=BertPretraining(plan=Pairs(length=32)),
        text=Text(tokenizer=SentencePiece(vocab_size=400)),
        data=Data(source={corpus!r}, unit=Unit.LINE, heldout=0.1),
        optim=Optim(peak_lr=1e-3, schedule=schedule, ema=0.99),
        loop=Loop(duration=Steps(40), batch_size=8, micro_batch=4, log_every=1),
        evals=Evals(every=10, max_rows=16),
        checkpoint=Checkpoint(every=4),
    )


def constant():
    return config(Constant())
"""

# What "equal" compares; the speed of a step is no part of it.
COMPARED = ("step", "loss", "mlm", "mlm_accuracy", "nsp", "nsp_accuracy", "lr", "grad_norm", "rows", "hash")


def documents(count: int, sentences: tuple[int, int] = (2, 6)) -> list[str]:
    """Documents of made-up words, always the same."""
    rng = random.Random(0)
    syllables = ["ka", "lo", "mi", "ter", "sun", "va", "ne", "ro", "shi", "pon", "del", "ga"]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 3))) for _ in range(150)]

    def sentence():
        return " ".join(rng.choices(words, k=rng.randint(4, 9))).capitalize() + "."

    return [" ".join(sentence() for _ in range(rng.randint(*sentences))) for _ in range(count)]


@dataclass(frozen=True)
class Place:
    """A folder with a corpus and a recipe, and the environment in which commands run there."""

    folder: Path
    env: dict[str, str]

    @property
    def recipe(self) -> Path:
        return self.folder / "tiny.py"

    def start(self, command: str, *args: Any, **env: str) -> subprocess.Popen:
        """`ssl-jax command ...` in its own process; its output is kept for communicate()."""
        words = [sys.executable, "-m", "ssl_jax", command, *map(str, args)]
        return subprocess.Popen(
            words,
            cwd=ROOT,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def pretrain(
        self, workdir: Path, *args: Any, recipe: str = "", at: Path | None = None, **env: str
    ) -> subprocess.Popen:
        """recipe: ":function" of the recipe's file; at: another file."""
        return self.start("pretrain", f"{at or self.recipe}{recipe}", "--workdir", workdir, *args, **env)

    def done(self, workdir: Path, *args: Any, status: int = 0, **kwargs: Any) -> tuple[str, str]:
        """What a run to its end said on stdout and stderr; checks its exit status."""
        return end(self.pretrain(workdir, *args, **kwargs), status)


def make_place(folder: Path, compiled: Path) -> Place:
    """compiled: where compiled programs are kept between the processes, so that a restart takes seconds."""
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(documents(300)) + "\n", encoding="utf-8")
    (folder / "tiny.py").write_text(RECIPE.format(corpus=str(corpus)), encoding="utf-8")
    mine = {
        "SSL_JAX_CACHE": str(folder / "cache"),
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(compiled),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        # The programs run for a second: their compilation is what costs.
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
        "PYTHONPATH": str(ROOT),
    }
    return Place(folder, {**os.environ, **mine})


def end(process: subprocess.Popen, status: int, seconds: float = 180) -> tuple[str, str]:
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
    assert process.returncode == status, f"exit status {process.returncode}, not {status}\n{out}\n{err}"
    return out, err


def said(capsys: Any) -> str:
    """What a command in this process complained with: one line, the last, and no traceback."""
    err = capsys.readouterr().err
    complaints = [line for line in err.splitlines() if line.startswith("ssl-jax:")]
    assert len(complaints) == 1 and err.endswith(complaints[0] + "\n"), err
    assert "Traceback" not in err
    return complaints[0]


def wait_for(process: subprocess.Popen, condition: Callable[[], Any], seconds: float = 240) -> Any:
    """What condition gave once it was true; fails where the process ended or the time ran out before."""
    limit = time.monotonic() + seconds
    while not (value := condition()):
        if process.poll() is not None or time.monotonic() > limit:
            out, err = (process.kill(), process.communicate())[1]
            raise AssertionError(f"it never came to that (status {process.returncode}):\n{out}\n{err}")
        time.sleep(0.001)
    return value


def kill(process: subprocess.Popen) -> None:
    """SIGKILL, and proof that it came before the end."""
    process.kill()
    out, err = process.communicate()
    assert process.returncode == -signal.SIGKILL, f"it had ended already:\n{out}\n{err}"


def interrupted(
    start: Callable[[], subprocess.Popen], workdir: Path, step: int, number: int
) -> tuple[int, str, str]:
    """(status, stdout, stderr) of a run that got a signal after this step.

    A run of a second can end before the signal comes, on a machine that is busy: then another is begun.
    """
    for _ in range(10):
        process = start()
        wait_for(process, lambda: last_step(workdir) >= step)
        process.send_signal(number)
        out, err = process.communicate(timeout=180)
        if process.returncode != 0:
            return process.returncode, out, err
        shutil.rmtree(workdir)
    raise AssertionError(f"ten runs ended before the signal came:\n{out}\n{err}")


def lines(workdir: Path) -> list[dict[str, Any]]:
    """metrics.jsonl, every line of it; a line that is no JSON fails the test."""
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def last_step(workdir: Path) -> int:
    """The newest step in metrics.jsonl, which another process may be writing; -1 where there is none."""
    try:
        whole = (workdir / "metrics.jsonl").read_text().split("\n")[:-1]
    except FileNotFoundError:
        return -1
    return json.loads(whole[-1])["step"] if whole else -1


def curve(workdir: Path) -> list[dict[str, Any]]:
    """The logged steps without what depends on the clock."""
    timed = ("tokens_per_s", "data_wait", "mfu")
    return [{k: v for k, v in line.items() if k not in timed} for line in lines(workdir)]


def parameters(workdir: Path, step: int | None = None) -> dict[str, np.ndarray]:
    """Every leaf of a checkpoint (default: the newest): parameters, moments, average, counters."""
    folder = workdir / "checkpoints"
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    leaves, meta = read_leaves(folder, step or saved_steps(folder)[-1], lambda name: True, {}, here)
    return {**{name: np.asarray(leaf) for name, leaf in leaves.items()}, "next_row": meta["next_row"]}


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Bit for bit: every logged step, once and in order, and the whole state at the end."""
    one, two = curve(ours), curve(theirs)
    assert [line["step"] for line in one] == [line["step"] for line in two]
    assert all(set(COMPARED) <= line.keys() for line in one if line["step"] > 0)
    assert one == two
    assert_same_state(parameters(ours), parameters(theirs))


def assert_same_state(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], two[name], err_msg=name)
