# SPDX-License-Identifier: Apache-2.0
"""Two real processes that train one model: the same losses as one, the same rows, one checkpoint."""

import re
import shlex
import signal

import pytest

from ssl_jax.loop.kept import saved_steps
from tests.end_to_end.runs import end, last_step, lines, make_place, wait_for
from tests.pods.processes import EXACT, assert_follows, group, refused, sets

SETS = sets(*EXACT, "checkpoint.every=2")


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return make_place(tmp_path_factory.mktemp("pods"), request.config.cache.mkdir("compiled"))


def test_a_missing_corpus_is_never_built_by_several_and_found_before_they_meet(place, tmp_path):
    missing = sets("data.heldout=0.2")  # a corpus that nobody prepared
    line = refused(group(place, tmp_path / "run", *missing))
    prepare = shlex.join(["ssl-jax", "prepare", str(place.recipe), *missing])
    assert re.search(r" \(minutes on \d+ cores like ours, an estimate\): ", line), line
    assert line.endswith(f": {prepare}")
    assert not list((place.folder / "cache").glob("stores/*"))
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [".lock", ".meeting"]  # and no run


@pytest.mark.slow
def test_train_together_and_go_on_alone(place, tmp_path):
    end(place.start("prepare", place.recipe), 0)
    alone, together = tmp_path / "alone", tmp_path / "together"
    place.done(alone, *SETS, "--set", "loop.num_steps=12", recipe=":constant")

    first, second = group(place, together, *SETS, "--set", "loop.num_steps=6", recipe=":constant")
    out, _ = end(first, 0)
    silent, _ = end(second, 0)
    assert "6 steps done" in out and "steps done" not in silent  # process 0 speaks for both
    assert_follows(lines(together)[:6], lines(alone)[:6])
    assert saved_steps(together / "checkpoints") == [4, 6]
    assert sorted(p.stem for p in (together / "checkpoints" / "_seals").iterdir()) == ["4", "6"]

    out, _ = place.done(together, *SETS, "--set", "loop.num_steps=12", recipe=":constant")
    assert "at step 6 (verified), data from row 48" in out
    assert [line["step"] for line in lines(together)] == list(range(13))
    assert_follows(lines(together), lines(alone))


@pytest.mark.slow
@pytest.mark.parametrize("signalled", [(0, 1), (0,), (1,)], ids=str)
def test_sigterm_to_any_stops_all_at_one_step_with_75(place, tmp_path, signalled):
    end(place.start("prepare", place.recipe), 0)
    processes = group(place, tmp_path / "run", *SETS, *sets("loop.num_steps=100000"))
    wait_for(processes[0], lambda: last_step(tmp_path / "run") >= 5)
    for i in signalled:
        processes[i].send_signal(signal.SIGTERM)
    for process in processes:
        end(process, 75)
    steps = saved_steps(tmp_path / "run" / "checkpoints")
    assert steps[-1] >= last_step(tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("*tmp*"))


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_process_that_is_lost_is_said_by_the_other_which_leaves(place, tmp_path, lost):
    """It stayed for jax's farewell, 83 seconds, and ended by an abort."""
    end(place.start("prepare", place.recipe), 0)
    processes = group(place, tmp_path / "run", *SETS, *sets("loop.num_steps=100000"))
    wait_for(processes[0], lambda: last_step(tmp_path / "run") >= 3)
    processes[lost].kill()
    processes[lost].communicate()
    _, err = processes[1 - lost].communicate(timeout=60)
    assert processes[1 - lost].returncode == 1, err
    assert "another process of the run was lost; start all of them again" in err
    assert "Traceback" not in err
