# SPDX-License-Identifier: Apache-2.0
"""Two real processes that train one model: the same losses as one, the same rows, one checkpoint."""

import re
import shlex
import signal
import socket

import numpy as np
import pytest

from ssl_jax.loop.kept import saved_steps
from tests.end_to_end.runs import end, last_step, lines, make_place, wait_for

# Dropout's masks are drawn a shard, and DESIGN's conditions for equal losses across meshes ask for none.
SETS = ["model.dropout=0.0", "model.attention_dropout=0.0", "optim.peak_lr=5e-4", "checkpoint.every=2"]
SETS = [word for setting in SETS for word in ("--set", setting)]


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return make_place(tmp_path_factory.mktemp("pods"), request.config.cache.mkdir("compiled"))


def both(place, workdir, *args, recipe=""):
    """Two processes of one run, started."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = ["--coordinator", f"localhost:{port}", "--num-processes", "2"]
    return [place.pretrain(workdir, *args, *group, "--process-id", str(i), recipe=recipe) for i in range(2)]


def assert_follows(ours, theirs):
    """Rows and hashes exactly, losses within 1e-5 (DESIGN, across meshes)."""
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    for one, two in zip(ours[1:], theirs[1:]):
        assert (one["rows"], one["hash"], one["lr"]) == (two["rows"], two["hash"], two["lr"])
        for name in ("loss", "mlm", "nsp"):
            np.testing.assert_allclose(one[name], two[name], rtol=0, atol=1e-5, err_msg=name)


def test_a_missing_corpus_is_never_built_by_several_and_found_before_they_meet(place, tmp_path):
    sets = ["--set", "data.heldout=0.2"]  # a corpus that nobody prepared
    alone = ["--coordinator", "localhost:1", "--num-processes", "2", "--process-id", "1"]
    _, err = end(place.pretrain(tmp_path / "run", *sets, *alone), 2)
    prepare = shlex.join(["ssl-jax", "prepare", str(place.recipe), *sets])
    assert re.fullmatch(r"ssl-jax: .*\n", err) and err.endswith(f": {prepare}\n"), err
    assert not list((place.folder / "cache").glob("stores/*")) and not (tmp_path / "run").exists()


@pytest.mark.slow
def test_train_together_and_go_on_alone(place, tmp_path):
    end(place.start("prepare", place.recipe), 0)
    alone, together = tmp_path / "alone", tmp_path / "together"
    place.done(alone, *SETS, "--set", "loop.num_steps=12", recipe=":constant")

    first, second = both(place, together, *SETS, "--set", "loop.num_steps=6", recipe=":constant")
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
def test_sigterm_to_both_saves_once_and_both_leave_with_75(place, tmp_path):
    end(place.start("prepare", place.recipe), 0)
    sets = [*SETS, "--set", "loop.num_steps=100000"]
    processes = both(place, tmp_path / "run", *sets)
    wait_for(processes[0], lambda: last_step(tmp_path / "run") >= 5)
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        end(process, 75)
    steps = saved_steps(tmp_path / "run" / "checkpoints")
    assert steps[-1] >= last_step(tmp_path / "run")
    assert not list((tmp_path / "run" / "checkpoints").glob("*tmp*"))
