# SPDX-License-Identifier: Apache-2.0
"""A disk that fills up: one line, earlier checkpoints whole, and once there is room the run goes on."""

import subprocess

import pytest

from tests.end_to_end.runs import assert_same_run


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB: two checkpoints fit, a third doesn't."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_run_goes_on_when_there_is_room(place, whole, small_disk):
    workdir = small_disk / "run"
    _, err = place.done(workdir, status=1)
    complaints = [line for line in err.splitlines() if line.startswith("ssl-jax:")]
    assert len(complaints) == 1 and "is full" in complaints[0] and err.splitlines()[-1] == complaints[0]
    assert "Traceback" not in err
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    out, _ = place.done(workdir)
    assert "resuming" in out
    assert_same_run(workdir, whole)
