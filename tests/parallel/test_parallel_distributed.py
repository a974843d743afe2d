# SPDX-License-Identifier: Apache-2.0
"""Start-up of several processes."""

import http.server
import os
import socket
import subprocess
import sys
import threading

import pytest

from ssl_jax import parallel
from ssl_jax.parallel import distributed
from ssl_jax.parallel.notes import Seat
from ssl_jax.types import UserError

TWO_SLICES = {"MEGASCALE_NUM_SLICES": "2", "MEGASCALE_SLICE_ID": "1"}


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch):
    for name in (distributed.COORDINATOR, distributed.NUM_PROCESSES, distributed.PROCESS_ID):
        monkeypatch.delenv(name, raising=False)


def test_a_host_of_a_tpu_slice_asks_its_metadata_server(monkeypatch):
    """Two slices of two hosts; the second host of the second slice.  Without an answer only jax can know."""
    told = {
        "agent-worker-number": "1",
        "worker-network-endpoints": "a:1:10.0.0.1,b:2:10.0.0.2",
        "tpu-env": "ZONE: 'z'\nMEGASCALE_NUM_SLICES: '2'\nMEGASCALE_SLICE_ID: '1'\n",
    }

    class Metadata(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked_rightly = self.headers["Metadata-Flavor"] == "Google"
            self.send_response(200 if asked_rightly else 403)
            self.end_headers()
            self.wfile.write(told[self.path.rpartition("/")[2]].encode())

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("localhost", 0), Metadata) as server:
        monkeypatch.setenv("GCE_METADATA_IP", f"localhost:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert parallel.seat(auto=True) == Seat(3, 4) and parallel.seat() is None
        server.shutdown()
    assert parallel.seat(auto=True) is None


def test_one_process_needs_nothing():
    assert parallel.initialize() is False


@pytest.mark.parametrize(
    ("env", "seat"),
    [
        ({}, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, None),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, Seat(1, 2)),
        ({"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3"}, Seat(3, 4)),
        ({"TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, None),
        ({"TPU_WORKER_HOSTNAMES": "host-0,host-1", "TPU_WORKER_ID": "1"}, Seat(1, 2)),
        ({**TWO_SLICES, "TPU_WORKER_HOSTNAMES": "h-0,h-1", "TPU_WORKER_ID": "1"}, Seat(3, 4)),
        ({**TWO_SLICES, "TPU_WORKER_HOSTNAMES": "localhost", "TPU_WORKER_ID": "0"}, Seat(1, 2)),
    ],
)
def test_a_scheduler_is_known_by_its_environment(env, seat):
    assert parallel.seat(env=env) == seat


@pytest.mark.parametrize(
    ("flags", "env", "expected"),
    [
        (None, {}, None),
        (("host:1", 1, 0), {}, None),
        (("host:1", 2, 1), {}, Seat(1, 2, "host:1")),
        (("host:1", None, 1), {"SSL_JAX_NUM_PROCESSES": "2"}, Seat(1, 2, "host:1")),
        (("host:1", 1, 0), {"SSL_JAX_NUM_PROCESSES": "2"}, None),
        (None, {"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "1"}, Seat(1, 2)),
    ],
)
def test_several_processes_are_known_before_any_device_is(monkeypatch, flags, env, expected):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert parallel.seat(*(flags or ())) == expected


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (("localhost:1", 2, None), "all three of --coordinator"),
        ((None, 2, 0), "all three of --coordinator"),
        (("localhost", 2, 0), "'localhost' is not host:port"),
        (("localhost:x", 2, 0), "not host:port"),
        (("localhost:1", 2, 2), "process 2 of 2: ids are 0 to 1"),
    ],
)
def test_flags_that_do_not_fit_are_named(given, text):
    with pytest.raises(UserError, match=text):
        parallel.initialize(*given)


def test_the_environment_is_read_and_its_mistakes_named(monkeypatch):
    monkeypatch.setenv("SSL_JAX_NUM_PROCESSES", "two")
    with pytest.raises(UserError, match="SSL_JAX_NUM_PROCESSES='two' is no whole number"):
        parallel.initialize()
    monkeypatch.setenv("SSL_JAX_NUM_PROCESSES", "2")
    with pytest.raises(UserError, match="all three"):
        parallel.initialize()


# It says what it has to say in a file: Gloo writes to stdout too, in pieces.
PROGRAM = """
import sys
import jax
jax.config.update("jax_num_cpu_devices", 2)
from ssl_jax import parallel
from ssl_jax.types import Failure, Told, UserError
assert parallel.initialize(timeout_seconds=60)
import jax.numpy as jnp, numpy as np
mesh = parallel.MeshConfig().make()
here = jax.process_index()
mine = np.arange(4.0)[:, None] + 4 * here
rows = jax.make_array_from_process_local_data(parallel.batch_sharding(mesh), mine)
assert rows.shape == (8, 1)
assert [d.process_index for d in mesh.devices.flat] == [0, 0, 1, 1]
assert float(jax.jit(jnp.sum)(rows)) == 28.0
parallel.agree(recipe="same")
said = open(sys.argv[1], "w")
try:
    parallel.agree(recipe="same", store=str(here))
except (UserError, Told) as error:
    print(error, file=said)
with parallel.together():
    pass
for wrong, kind in ((0, UserError), (1, Failure)):
    try:
        with parallel.together():
            if here == wrong:
                raise kind(f"the mistake of {wrong}")
    except (UserError, Failure, Told) as error:
        print(type(error).__name__, error, file=said)
try:
    with parallel.together():
        assert here != 1
except (AssertionError, Told) as error:
    print(type(error).__name__, file=said)
said.close()
"""


def test_two_processes_meet_and_agree(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    env |= {"JAX_PLATFORMS": "cpu", "SSL_JAX_COORDINATOR": address, "SSL_JAX_NUM_PROCESSES": "2"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(tmp_path / str(i))],
            env=env | {"SSL_JAX_PROCESS_ID": str(i)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for i in range(2)
    ]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    said = [(tmp_path / str(i)).read_text().splitlines() for i in range(2)]
    assert said[0] == [
        "process 1 has another store than process 0: all must start from the same files",
        "UserError the mistake of 0",
        "Failure process 1: the mistake of 1",
        "Told",
    ]
    assert said[1] == ["2", "Told 2", "Told 1", "AssertionError"]
