# SPDX-License-Identifier: Apache-2.0
"""export in a process of its own: killed, and on a full disk; what it writes is what another run takes."""

import subprocess

import pytest

from tests.end_to_end.runs import end, kill, wait_for

pytestmark = pytest.mark.slow


def test_a_kill_leaves_nothing_under_the_name_and_the_next_export_is_whole(place, whole, tmp_path):
    out = tmp_path / "out"
    process = place.start("export", whole, out)
    wait_for(process, lambda: any(tmp_path.glob(".out.partial/*")))
    kill(process)
    assert not out.exists()
    told, _ = end(place.start("export", whole, out), 0)
    assert "hf upload" in told
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    card = (out / "README.md").read_text()
    assert "tokens seen" in card and "heldout/loss" in card
    assert str(place.folder) not in card and str(tmp_path) not in card
    workdir = tmp_path / "next"
    start = (
        "--from",
        out,
        "--set",
        f"data.source={place.folder / 'corpus.txt'}",
        "--set",
        "loop.num_steps=2",
    )
    told, _ = place.done(workdir, *start)
    assert "weights from" in told and "fresh heads" not in told


def test_a_full_disk_is_one_line(place, whole, tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    try:
        _, err = end(place.start("export", whole, folder / "out"), 2)
        assert list(folder.iterdir()) == []
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    assert [line for line in err.splitlines() if line.startswith("ssl-jax:")] == err.splitlines()[-1:]
    assert "MB free" in err.splitlines()[-1] and "Traceback" not in err
