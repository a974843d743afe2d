# SPDX-License-Identifier: Apache-2.0
"""A mistake in a run of two processes: one line on one of them, status 2 on both, and nobody waits."""

import shutil
import subprocess
import sys

import pytest

from tests.end_to_end.runs import ROOT, kill, wait_for
from tests.pods.processes import EXACT, group, prepared_place, refused, sets

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return prepared_place(tmp_path_factory.mktemp("mistakes"), request.config.cache.mkdir("compiled"))


@pytest.fixture(scope="module")
def begun(place, tmp_path_factory):
    """A run that one process began."""
    workdir = tmp_path_factory.mktemp("begun") / "run"
    place.done(workdir, *sets(*EXACT, "loop.num_steps=4"))
    return workdir


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["mesh.data=3"], "the product is 3, not the 2 devices"),
        (
            ["mesh.tensor=2", "model.dim=512", "model.num_heads=1"],
            "heads=1 does not divide by the mesh's tensor=2",
        ),
        (["loop.batch_size=9"], "loop.batch_size=9 doesn't divide over the 2 shards"),
    ],
    ids=["mesh", "heads", "batch"],
)
def test_what_does_not_divide(place, tmp_path, settings, said):
    assert said in refused(group(place, tmp_path / "run", *sets(*settings)))


def test_a_checkpoint_of_another_model(place, begun, tmp_path):
    workdir = shutil.copytree(begun, tmp_path / "run")
    changed = sets(*EXACT, "loop.num_steps=4", "model.dim=64")
    (workdir / "summary.json").unlink()
    assert "model.dim was 32, now 64" in refused(group(place, workdir, *changed))


def test_versions_that_differ(place, tmp_path):
    first, second = group(place, tmp_path / "run")
    words, second_args = [sys.executable, "-m", "tests.pods.other_versions"], second.args[3:]
    second.kill()
    second.communicate()
    other = subprocess.Popen(
        [*words, *second_args],
        cwd=ROOT,
        env=place.env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert "versions.jax is 0.9.0 in process 1" in refused([first, other])


def test_one_host_lacks_the_recipe_or_the_corpus(place, tmp_path):
    mine = place.folder / "mine.py"

    def one_by_one(workdir, *args, first=place.recipe, second=place.recipe, **env):
        return [
            place.pretrain(
                workdir, *args, "--num-processes", 2, "--process-id", i, at=at, **(env if i else {})
            )
            for i, at in enumerate((first, second))
        ]

    here = ["--coordinator", "localhost:23571"]
    line = refused(one_by_one(tmp_path / "recipe", *here, second=mine))
    assert "process 1 on" in line and "there is no recipe" in line
    line = refused(one_by_one(tmp_path / "corpus", *here, SSL_JAX_CACHE=str(tmp_path / "empty")))
    assert "process 1 on" in line and "several processes don't build it" in line


def test_a_workdir_in_use_is_found_before_they_meet(place, tmp_path):
    process = place.pretrain(tmp_path / "run")
    wait_for(process, (tmp_path / "run" / "config.json").exists)
    assert f"in use by process {process.pid}" in refused(group(place, tmp_path / "run"))
    kill(process)
