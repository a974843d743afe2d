# SPDX-License-Identifier: Apache-2.0
"""Two processes drop the same checkpoints at the same moment, however long the sealing of one takes."""

import os
import socket
import subprocess
import sys

import pytest

from tests.end_to_end.runs import ROOT

PROGRAM = """
import sys, time
from pathlib import Path
from ssl_jax import parallel
parallel.initialize()
import jax, numpy as np
from jax.experimental import multihost_utils
from ssl_jax.loop import seal
from ssl_jax.loop.checkpoint import Checkpoint, Checkpointer
from ssl_jax.loop.state import State

everywhere = parallel.MeshConfig().make()
replicated = jax.sharding.NamedSharding(everywhere, jax.sharding.PartitionSpec())
make = lambda: State(step=1, params={"a": np.ones(8)}, opt=(), extra=(), guards=(), ema=())
state = jax.jit(make, out_shardings=replicated)()

sealed = seal.seal
def slowly(*args):  # a large checkpoint: only process 0 hashes it
    time.sleep(1.0)
    sealed(*args)
seal.seal = slowly

folder, scores = Path(sys.argv[1]), {30: 0.1, 60: 0.5, 90: 0.3, 120: 0.4}
checkpointer = Checkpointer(folder, Checkpoint(every=30, keep_last=1, keep_best=1))
for step in range(1, 150):
    # A training step: nobody is a step ahead, and a barrier in between would be taken for its collective.
    assert (multihost_utils.process_allgather(np.full(1000, step)) == step).all()
    checkpointer.poll()
    if step in scores:
        checkpointer.save(step, state, {"next_row": step, "best": scores[step]})
    time.sleep(0.05)
checkpointer.close()
print("kept", checkpointer.steps())
"""


@pytest.mark.slow
def test_slow_seals_of_process_0_neither_hang_the_others_nor_change_what_is_kept(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT)}
    env |= {"SSL_JAX_COORDINATOR": address, "SSL_JAX_NUM_PROCESSES": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, tmp_path / "checkpoints"],
            env=env | {"SSL_JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    try:
        for process in processes:
            out, err = process.communicate(timeout=120)
            assert process.returncode == 0, err
            assert "kept [30, 120]" in out  # the best and the last
    finally:
        for process in processes:
            process.kill()
