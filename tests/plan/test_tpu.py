# SPDX-License-Identifier: Apache-2.0
"""Plans by the real TPU compiler, on a machine without a TPU."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from types import SimpleNamespace

import pytest

from ssl_jax import config
from ssl_jax.plan import fitting, topology
from ssl_jax.program import lay_out
from tests.plan import small
from tests.plan.test_plan import planned

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'ssl_jax[plan]'"
    ),
]


def command(*args: str, **env: str) -> subprocess.CompletedProcess:
    """As a user without JAX_PLATFORMS starts it."""
    environment = {name: value for name, value in os.environ.items() if name != "JAX_PLATFORMS"} | env
    return subprocess.run(
        [sys.executable, "-m", "ssl_jax", *args], capture_output=True, text=True, timeout=600, env=environment
    )


def test_what_runs_out_of_memory_gets_a_change_that_compiles():
    """BERT-large with 64 rows of 128 at a time, on chips of 16 GB."""
    experiment, _, _ = config.load_recipe("bert_large:phase1")
    experiment = config.apply_sets(experiment, ["loop.micro_batch=64"])
    found = planned(experiment, topology.target_of("v5e:16x16"))
    assert not found.fits and found.view.compiled is None
    assert found.view.memory.total > found.view.memory.capacity == 15.75 * 2**30
    assert found.change.sets == ("loop.micro_batch=32",)
    assert found.change.view.memory.fits and found.change.view.compiled is not None
    assert found.bound.limit in found.bound.seconds


def test_a_command_is_quiet_and_on_its_platform(tmp_path):
    """libtpu on a machine without a TPU looks for one, and says so at length."""
    recipe = tmp_path / "recipe.py"
    recipe.write_text("def config():\n    from tests.plan.small import experiment\n    return experiment()\n")
    file = tmp_path / "plan.json"
    done = command("plan", str(recipe), "--host-devices", "2", "--json", str(file), PYTHONPATH=os.getcwd())
    assert done.returncode == 0, done.stderr
    assert {line.split()[0] for line in done.stderr.splitlines()} <= {"look", "compile"}
    assert "cpu isn't in the table of chips" in done.stdout
    assert "not known whether it fits on 2 devices of the CPU" in done.stdout
    tree = json.loads(file.read_text())
    assert (tree["target"], tree["fits"]) == ("2 devices of the CPU", None)


@pytest.mark.parametrize("name", ["v5e:3x5", "v9:2x2"])
def test_a_topology_that_the_compiler_refuses_is_one_line(name):
    done = command("plan", "bert_tiny", "--topology", name)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and f"--topology {name}: " in done.stderr
    assert "v5e:16x16" in done.stderr


def test_two_slices_get_larger_slices():
    """Parameters sharded inside of a slice: data alone goes between."""

    def look_at(experiment, where):
        fits = lay_out(experiment, where.devices).mesh.shape["fsdp"] == 8
        return SimpleNamespace(memory=SimpleNamespace(fits=fits))

    found = fitting.larger_topology(small.experiment(), topology.target_of("v6e:2x2", 2), look_at, 2)
    assert found == "--topology v6e:2x4 --slices 2 --set mesh.data=2 --set mesh.fsdp=-1"


def test_one_device_a_chip_but_for_tpu7x():
    for name, chips, devices in [("v4:2x2x1", 4, 4), ("v5p:2x2x1", 4, 4), ("tpu7x:2x2x1", 4, 8)]:
        target = topology.target_of(name)
        assert (target.num_chips, len(target.devices)) == (chips, devices)
    slices = topology.target_of("v6e:2x2", 2)
    assert slices.slice_of == (0, 0, 0, 0, 1, 1, 1, 1) and slices.num_slices == 2
