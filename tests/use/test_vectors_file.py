# SPDX-License-Identifier: Apache-2.0
"""Files of vectors: what went in comes out by other libraries, and nothing half-written has the name."""

import numpy as np
import pytest

from ssl_jax.types import UserError
from ssl_jax.use.embed import ARRAYS, Vectors, joined
from ssl_jax.use.vectors_file import writing


def part(first: int, count: int) -> Vectors:
    draw = np.random.default_rng(first)
    return Vectors(
        texts=np.arange(first, first + count),
        starts=draw.integers(0, 9, count),
        stops=draw.integers(9, 99, count),
        words=[f"苹果\n{'👍' * int(n)} \x00." for n in draw.integers(0, 5, count)],
        vectors=draw.standard_normal((count, 6)).astype(np.float32),
        static=draw.standard_normal((count, 3)).astype(np.float32),
    )


PARTS = [part(0, 3), part(3, 1), part(4, 5000)]
WHOLE = joined(PARTS)


def read(path) -> dict:
    if path.suffix == ".npz":
        return dict(np.load(path, allow_pickle=False))
    table = pytest.importorskip("pyarrow.parquet").read_table(path).to_pydict()
    return {name: np.array(column) for name, column in table.items()}


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_what_is_written_is_read_back(tmp_path, suffix):
    path = tmp_path / f"vectors{suffix}"
    path.write_text("an older file")
    (tmp_path / f"vectors{suffix}.partial").mkdir()  # of a run that was killed
    with writing(path) as writer:
        for one in PARTS:
            writer.add(one)
        assert path.read_text() == "an older file"
    found = read(path)
    assert set(found) == {*ARRAYS, "words"}
    for name in ARRAYS:
        assert np.array_equal(found[name], getattr(WHOLE, name)), name
    assert found["words"].tolist() == WHOLE.words
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".npz", ".parquet"])
def test_a_run_that_fails_leaves_what_was_there(tmp_path, suffix):
    path = tmp_path / f"vectors{suffix}"
    path.write_text("an older file")
    with pytest.raises(ZeroDivisionError), writing(path) as writer:
        writer.add(PARTS[0])
        raise ZeroDivisionError
    assert path.read_text() == "an older file" and list(tmp_path.iterdir()) == [path]


def test_places_that_cannot_be_written_are_refused_before_anything_is_made(tmp_path):
    for name, said in (("v.csv", r"ends in \.npz or \.parquet"), ("no/v.npz", "No such file or directory")):
        with pytest.raises(UserError, match=said), writing(tmp_path / name):
            pytest.fail("begun")
    assert not list(tmp_path.iterdir())
