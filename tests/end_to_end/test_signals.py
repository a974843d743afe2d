# SPDX-License-Identifier: Apache-2.0
"""Asked to stop, a run saves and leaves; its exit status says how, and the same command goes on."""

import signal

import pytest

from ssl_jax.loop.kept import saved_steps
from tests.end_to_end.runs import assert_same_run, end, interrupted, last_step, lines, wait_for


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 75), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_where_it_stands_and_nothing_is_lost(place, whole, tmp_path, number, status):
    workdir = tmp_path / "run"
    sets = ["--set", "checkpoint.every=1000"]  # what is there afterwards, the signal saved
    left, out, err = interrupted(lambda: place.pretrain(workdir, *sets), workdir, 2, number)
    assert left == status, err
    assert f"{signal.Signals(number).name}: stopped after step" in out
    assert "Traceback" not in err
    at = last_step(workdir)
    assert 2 <= at < 40 and saved_steps(workdir / "checkpoints") == [at]
    out, _ = place.done(workdir, *sets)
    assert f"at step {at} (verified)" in out and "done again" not in out
    assert_same_run(workdir, whole)


def test_sigterm_on_the_way_to_the_first_step(place, tmp_path):
    workdir = tmp_path / "run"
    process = place.pretrain(workdir)
    wait_for(process, (workdir / "config.json").exists)
    process.send_signal(signal.SIGTERM)
    _, err = end(process, 75)
    assert err.splitlines()[-1] == "ssl-jax: stopped by SIGTERM; the same command goes on from there"
    assert "Traceback" not in err


@pytest.mark.slow
def test_log_lines_between_the_logged_steps_leave_no_trace(place, tmp_path):
    """The step that a signal happened to hit is no step that the log would have had."""
    sets = ["--set", "loop.log_every=7", "--set", "evals.every=None"]
    whole, workdir = tmp_path / "whole", tmp_path / "run"
    place.done(whole, *sets)
    assert interrupted(lambda: place.pretrain(workdir, *sets), workdir, 7, signal.SIGTERM)[0] == 75
    place.done(workdir, *sets)
    assert [line["step"] for line in lines(workdir)] == [0, 7, 14, 21, 28, 35, 40]
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_a_run_that_diverges_says_why_and_leaves_with_3(place, tmp_path):
    workdir = tmp_path / "run"
    sets = ["optim.peak_lr=1e38", "optim.clip_norm=None", "optim.schedule.warmup=0", "evals.every=None"]
    _, err = place.done(workdir, *(w for s in sets for w in ("--set", s)), status=3)
    reasons = [line for line in err.splitlines() if "diverged at step" in line]
    assert len(reasons) == 1 and "10 steps in a row" in reasons[0] and "optim.peak_lr" in reasons[0]
    assert "Traceback" not in err
    last = lines(workdir)[-1]
    assert (last["skipped_in_a_row"] >= 10 and last["loss"] == "nan") or last["grad_norm"] in ("nan", "inf")
    assert last["step"] not in saved_steps(workdir / "checkpoints")
