# SPDX-License-Identifier: Apache-2.0
"""Killed, and gone on with by other numbers of processes on other meshes: the rows, batches and losses of
the run that nobody disturbed."""

import pytest

from ssl_jax.loop.kept import saved_steps
from tests.end_to_end.runs import end, last_step, lines, wait_for
from tests.pods.processes import EXACT, assert_follows, group, prepared_place, sets

pytestmark = pytest.mark.slow
STEPS = 50  # for which DESIGN promises equal losses
RUN = sets(*EXACT, "evals.every=None", "model.num_layers=1", f"loop.num_steps={STEPS}", "loop.micro_batch=2")
HALVES = dict(data=2, fsdp=2, tensor=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return prepared_place(tmp_path_factory.mktemp("elastic"), request.config.cache.mkdir("compiled"))


@pytest.fixture(scope="module")
def undisturbed(place, tmp_path_factory):
    """One process with one device: 8 rows a step, in four micro-batches."""
    workdir = tmp_path_factory.mktemp("undisturbed") / "run"
    (process,) = start(place, workdir, 1, 1)
    out, _ = end(process, 0, 900)
    assert "8 rows in 4 micro-batches" in out
    return lines(workdir)


def start(place, workdir, count, devices, *settings, **mesh):
    axes = [f"mesh.{axis}={size}" for axis, size in mesh.items()]
    words = [*RUN, *sets(*axes, *settings)]
    return group(place, workdir, *words, count=count, devices=devices, recipe=":constant")


@pytest.mark.parametrize(
    ("count", "devices", "mesh"),
    [
        (1, 8, HALVES),
        (2, 4, HALVES),
        (4, 2, HALVES),
        (8, 1, HALVES),
        (2, 4, dict(data=1, fsdp=4, tensor=2)),
        (4, 2, dict(data=4, fsdp=1, tensor=2)),
    ],
    ids=str,
)
def test_eight_devices_split_every_way_follow_one(place, undisturbed, tmp_path, count, devices, mesh):
    for process in start(place, tmp_path / "run", count, devices, "loop.num_steps=6", **mesh):
        end(process, 0, 900)
    assert_follows(lines(tmp_path / "run"), undisturbed[:7])


def test_two_processes_then_one_then_four_each_killed(place, undisturbed, tmp_path):
    workdir = tmp_path / "run"
    for count, devices, mesh, until in ((2, 2, dict(data=2, fsdp=2), 9), (1, 1, {}, 21)):
        processes = start(place, workdir, count, devices, **mesh)
        wait_for(processes[0], lambda until=until: last_step(workdir) >= until, 900)
        for process in processes:
            process.kill()
            process.communicate()
        assert until <= last_step(workdir) < STEPS and saved_steps(workdir / "checkpoints")
    first, *others = start(place, workdir, 4, 2, **HALVES)
    out, _ = end(first, 0, 900)
    for process in others:
        end(process, 0, 900)
    assert "resuming" in out and "steps of 8 rows x 32" in out  # no accumulation any more
    assert [line["step"] for line in lines(workdir)] == list(range(STEPS + 1))
    assert_follows(lines(workdir), undisturbed)
