# SPDX-License-Identifier: Apache-2.0
"""The pulse: the real command, killed, started again, and equal to a run that nobody disturbed."""

import re
import signal

from tests.end_to_end.runs import assert_same_run, interrupted, last_step, lines


def test_killed_and_started_again_equals_uninterrupted(place, whole, tmp_path):
    workdir = tmp_path / "run"
    # When 8 is saved, 4 is committed.
    assert interrupted(lambda: place.pretrain(workdir), workdir, 9, signal.SIGKILL)[0] == -signal.SIGKILL
    assert last_step(workdir) < 40

    out, _ = place.done(workdir)
    at = int(re.search(r"resuming \S+ at step (\d+) \(\w+", out)[1])
    assert at >= 4 and at % 4 == 0
    assert f"data from row {8 * at}" in out
    assert [line["step"] for line in lines(workdir)] == list(range(41))
    assert_same_run(workdir, whole)


def test_finished_run_prints_its_table_again(place, whole):
    before = (whole / "metrics.jsonl").read_bytes()
    out, err = place.done(whole)
    assert "held-out mlm" in out and "--fresh" in out
    assert "compiling" not in err
    assert (whole / "metrics.jsonl").read_bytes() == before
