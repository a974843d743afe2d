# SPDX-License-Identifier: Apache-2.0
"""Several real processes of one run on this machine, over gloo, with fake devices."""

import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from tests.end_to_end.runs import Place, end, make_place

# Dropout's masks are drawn a shard, and DESIGN's conditions for equal losses across meshes ask for none.
EXACT = ["model.dropout=0.0", "model.attention_dropout=0.0", "optim.peak_lr=5e-4"]


def sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


def prepared_place(folder: Path, compiled: Path) -> Place:
    """A place whose corpus is there, as several processes want it."""
    place = make_place(folder, compiled)
    end(place.start("prepare", place.recipe), 0)
    return place


def group(place: Place, workdir: Path, *args: Any, count: int = 2, devices: int = 1, **kwargs: Any):
    """The processes of one run, started, with so many devices each."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    words = ["--coordinator", f"localhost:{port}", "--num-processes", count]
    kwargs = {"JAX_NUM_CPU_DEVICES": str(devices), **kwargs}
    if count == 1:
        return [place.pretrain(workdir, *args, **kwargs)]
    return [place.pretrain(workdir, *args, *words, "--process-id", i, **kwargs) for i in range(count)]


def refused(processes: list[subprocess.Popen], seconds: float = 100) -> str:
    """The one line that one of them said, after all have left with 2 before the time was over."""
    limit, said = time.monotonic() + seconds, []
    try:
        for process in processes:
            _, err = process.communicate(timeout=max(1, limit - time.monotonic()))
            assert process.returncode == 2, f"exit status {process.returncode}\n{err}"
            assert "Traceback" not in err
            said += [line for line in err.splitlines() if line.startswith("ssl-jax: ")]
    finally:
        for process in processes:
            process.kill()
    assert len(said) == 1, said
    return said[0]


def assert_follows(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Rows and hashes exactly, losses within 1e-5 (DESIGN, across meshes)."""
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, two in zip(ours[1:], theirs[1:]):
        assert (one["rows"], one["hash"], one["lr"]) == (two["rows"], two["hash"], two["lr"])
        for name in ("loss", "mlm", "nsp"):
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5, err_msg=name)
