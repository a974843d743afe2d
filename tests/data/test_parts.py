# SPDX-License-Identifier: Apache-2.0
"""A store in parts: the pieces of an input, and parts in any order, repeated, missing, damaged or late."""

import importlib
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data import (
    Data,
    JsonLines,
    Mixture,
    TextFiles,
    Unit,
    Weighted,
    prepare,
    prepare_part,
    publish,
    readers,
    shards,
)
from ssl_jax.data.parquet import ParquetInput
from ssl_jax.data.readers import JsonInput, TextInput
from ssl_jax.data.sources import open_sources
from ssl_jax.data.stretches import stretches
from ssl_jax.types import UserError
from tests.data.test_prepare import documents, lines, tree

PARTS = importlib.import_module("ssl_jax.data.parts")


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    monkeypatch.setattr(shards, "SMALLEST", 1000)


@pytest.fixture
def source(tmp_path) -> Mixture:
    """One file that is cut, small ones that are put together, JSON lines with a bad record; duplicates."""
    texts = documents(300)
    (tmp_path / "large.txt").write_text("\n".join(texts), encoding="utf-8")
    (tmp_path / "small").mkdir()
    for i in range(12):
        (tmp_path / "small" / f"{i:02}.txt").write_text(f"{texts[i]}\nsmall {i}", encoding="utf-8")
    rows = [json.dumps({"text": text}) for text in [*documents(40, seed=1), texts[250]]]
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows[:20], "{broken", *rows[20:]]), encoding="utf-8")
    files = (
        TextFiles(pattern=str(tmp_path / "large.txt"), unit=Unit.LINE),
        TextFiles(pattern=str(tmp_path / "small"), unit=Unit.LINE),
        JsonLines(pattern=str(tmp_path / "rows.jsonl")),
    )
    return Mixture(sources=tuple(Weighted(source=file, weight=1.0) for file in files))


def data_of(source: Mixture, store: Path, **settings) -> Data:
    return Data(source=source, store=str(store), max_bad=0.1, **{"heldout": 0.1, **settings})


@given(
    st.lists(
        st.sampled_from([b"one", b"\n", b"\n\n", b"\n \n\n", b"\xff", b"a\0b", b"longer than ten", b"--"])
    ),
    st.sampled_from([Unit.LINE, Unit.BLOCK, Unit.SECTION, Unit.FILE, "--"]),
    st.integers(1, 7),
    st.integers(1, 9),
)
def test_the_pieces_of_a_text_hold_its_records_once_in_order(tmp_path_factory, content, unit, count, step):
    raw = b"".join(content)
    path = tmp_path_factory.mktemp("pieces") / "x.txt"
    path.write_bytes(raw)
    separator = unit if unit == "--" else None
    whole = TextInput("x.txt", path, 10, Unit.LINE if separator else unit, separator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "chunks", lambda _: (raw[i : i + step] for i in range(0, len(raw), step)))
        pieces = [list(piece.records()) for piece in whole.cut(count)]
        assert list(itertools.chain(*pieces)) == list(whole.records())


def test_the_pieces_of_a_large_file_are_of_one_size(source):
    opened = open_sources(Data(source=source))
    large = [shard for shard in shards.cut(opened) if shard.inputs[0].name == "large.txt"]
    sizes = [sum(len(text) for text in shard.inputs[0].records()) for shard in large]
    assert len(sizes) > 10 and max(sizes) < 1.3 * min(sizes)


def test_parquet_is_cut_at_its_row_groups(tmp_path):
    texts = [*documents(50), None]
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=7)
    whole = ParquetInput("x.parquet", tmp_path / "x.parquet", 1000)
    for count in (1, 3, 8, 20):
        pieces = [list(piece.records()) for piece in whole.cut(count)]
        assert list(itertools.chain(*pieces)) == list(whole.records())
    assert [len(piece) for piece in pieces if piece] == [7] * 7 + [2]


def test_stretches_of_records_cover_an_input(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": str(i)}) for i in range(10)))
    whole = JsonInput("x.jsonl", path, 1000)
    pieces = stretches(whole, 10, 3)
    assert [list(piece.records()) for piece in pieces] == [list("012"), list("345"), list("6789")]
    assert list(pieces[1].records(2)) == ["5"] and list(pieces[1].records(9)) == []
    assert sum(piece.size for piece in pieces) == pytest.approx(whole.size)


@pytest.mark.parametrize(("parts", "dedup"), [(1, False), (4, True), (100, False)])
def test_parts_in_any_order_and_repeated_make_the_store_of_one_machine(
    source, fake_text, tmp_path, parts, dedup
):
    alone = prepare(data_of(source, tmp_path / "alone", dedup=dedup), fake_text.Text())
    assert alone.report["duplicates"] == 13 and alone.report["bad"] == 1
    data = data_of(source, tmp_path / "together", dedup=dedup)
    order = np.random.default_rng(parts).permutation(parts).tolist()
    counts = [prepare_part(data, fake_text.Text(), part, parts) for part in [*order, order[0]]]
    assert sum(counts[:-1]) == len(shards.cut(open_sources(data))) > 15
    together = publish(data, fake_text.Text())
    assert together.fingerprint == alone.fingerprint
    assert tree(together.dir) == tree(alone.dir)
    assert {path.name for path in tmp_path.glob("together*")} == {"together"}


def test_a_shard_that_is_there_is_not_encoded_again(source, fake_text, tmp_path, monkeypatch):
    data = data_of(source, tmp_path / "store")
    prepare_part(data, fake_text.Text(), 0, 2)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store.parts").glob("*.npz")}
    monkeypatch.setattr(shards, "write", lambda *args: pytest.fail("encoded again"))
    prepare_part(data, fake_text.Text(), 0, 2)
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "store.parts").glob("*.npz")}


def test_a_missing_part_is_named_and_nothing_published(source, fake_text, tmp_path):
    data = data_of(source, tmp_path / "store")
    with pytest.raises(UserError, match=r"no part is prepared; run ssl-jax prepare RECIPE --part I/N"):
        publish(data, fake_text.Text())
    for part in (0, 1, 3):
        prepare_part(data, fake_text.Text(), part, 4)
    with pytest.raises(UserError, match=r"^part 2/4 is not prepared \(\d+ of \d+ shards are missing\); run"):
        publish(data, fake_text.Text())
    assert not (tmp_path / "store").exists() and prepare_part(data, fake_text.Text(), 2, 4) > 3
    assert publish(data, fake_text.Text()).dir == str(tmp_path / "store")


def test_parts_of_another_recipe_are_refused(source, fake_text, tmp_path):
    prepare_part(data_of(source, tmp_path / "store"), fake_text.Text(), 0, 2)
    for do in (
        lambda data: prepare_part(data, fake_text.Text(), 0, 2),
        lambda d: publish(d, fake_text.Text()),
    ):
        with pytest.raises(UserError, match=r"store.parts holds parts of other files or settings"):
            do(data_of(source, tmp_path / "store", heldout=0.2))


def test_a_damaged_shard_is_removed_and_its_part_makes_it_again(source, fake_text, tmp_path):
    alone = prepare(data_of(source, tmp_path / "alone"), fake_text.Text())
    data = data_of(source, tmp_path / "store")
    for part in range(3):
        prepare_part(data, fake_text.Text(), part, 3)
    path = tmp_path / "store.parts" / "000004.npz"
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 3] ^= 1  # in the first batch's arrays
    path.write_bytes(raw)
    with pytest.raises(UserError, match=r"000004.npz was damaged .* prepare its part again, then publish"):
        publish(data, fake_text.Text())
    with pytest.raises(UserError, match=r"part 1/3 is not prepared \(1 of"):
        publish(data, fake_text.Text())
    prepare_part(data, fake_text.Text(), 1, 3)
    assert tree(publish(data, fake_text.Text()).dir) == tree(alone.dir)


def test_parts_at_once_settle_once(source, fake_text, tmp_path, monkeypatch):
    settled, failed = [], []
    settle = PARTS.settle
    monkeypatch.setattr(PARTS, "settle", lambda *args: settled.append(1) or settle(*args))

    def work(part):
        try:
            prepare_part(data_of(source, tmp_path / "store"), fake_text.Text(), part, 3)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed and settled == [1]
    alone = prepare(data_of(source, tmp_path / "alone"), fake_text.Text())
    assert tree(publish(data_of(source, tmp_path / "store"), fake_text.Text()).dir) == tree(alone.dir)


def test_a_part_that_comes_late_or_is_overtaken_is_harmless(source, fake_text, tmp_path, monkeypatch):
    data = data_of(source, tmp_path / "store")
    encode = PARTS.Site.encode

    def overtaken(site, number, shard, tell):
        monkeypatch.setattr(PARTS.Site, "encode", encode)
        prepare_part(data, fake_text.Text(), 0, 1)
        publish(data, fake_text.Text())
        encode(site, number, shard, tell)

    monkeypatch.setattr(PARTS.Site, "encode", overtaken)
    made = prepare_part(data, fake_text.Text(), 0, 2)
    late = prepare_part(data, fake_text.Text(), 1, 2)
    assert made.fingerprint == late.fingerprint == publish(data, fake_text.Text()).fingerprint
    assert {path.name for path in tmp_path.glob("store*")} == {"store"}


def test_a_part_of_bad_records_stops_early(fake_text, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "SMALLEST", 1 << 20)
    path = tmp_path / "x.jsonl"
    path.write_text("{broken\n" * 3000 + '{"text": "fine"}\n{"text": "too"}\n')
    data = Data(source=str(path), store=str(tmp_path / "store"), heldout=0.0)
    with pytest.raises(UserError, match=r"bad records, .*x.jsonl: byte 0 \(line 1\): not JSON"):
        prepare_part(data, fake_text.Text(), 0, 1)
    assert not list((tmp_path / "store.parts").glob("*.npz*"))


@pytest.mark.slow
def test_killed_anywhere_and_repeated(fake_text, tmp_path, repository):
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(documents(300)), encoding="utf-8")
    whole = prepare(lines(path, store=str(tmp_path / "whole"), heldout=0.2), fake_text.Text())
    command = [sys.executable, "-m", "tests.data.killed_prepare", path, tmp_path / "killed", "1", "3"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 5
    assert tree(tmp_path / "killed") == tree(whole.dir)
