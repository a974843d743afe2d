# SPDX-License-Identifier: Apache-2.0
"""Records of files against plain splitting, however the stream is cut; bad records and where they are."""

import gzip
import json
import lzma
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data import readers
from ssl_jax.data.config import Unit
from ssl_jax.data.parquet import ParquetInput
from ssl_jax.data.readers import Bad, JsonInput, TextInput, detect_unit
from ssl_jax.types import UserError

# Pieces that make separators, near-separators and characters of several bytes likely.
bits = st.lists(
    st.sampled_from(["a", "b c", "é", "字", "\n", "\n\n", " ", "\t", "\r\n", "|", "||"]), max_size=40
)
LIMIT = 1 << 30


def read(monkeypatch, raw: bytes, cut: int, path="x.txt", **settings):
    monkeypatch.setattr(readers, "chunks", lambda path: (raw[i : i + cut] for i in range(0, len(raw), cut)))
    return list(TextInput("x", path, LIMIT, **settings).records())


def clean(texts):
    """What every unit does to the pieces: no blank ones, line ends as \\n."""
    return [text.replace("\r\n", "\n") for text in texts if text.strip()]


@given(bits, st.integers(1, 7))
def test_units_are_plain_splits_wherever_the_stream_is_cut(parts, cut):
    text = "".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        got = {
            u: read(patch, text.encode(), cut, unit=u)
            for u in (Unit.FILE, Unit.LINE, Unit.BLOCK, Unit.SECTION)
        }
        literal = read(patch, text.encode(), cut, separator="||")
    assert got[Unit.FILE] == clean([text])
    assert got[Unit.LINE] == clean(text.split("\n"))
    # A run of separators at the very end belongs to no document.
    assert [t.strip() for t in got[Unit.BLOCK]] == [
        t.strip() for t in clean(re.split(r"\n(?:[ \t\r]*\n)+", text))
    ]
    assert [t.strip() for t in got[Unit.SECTION]] == [
        t.strip() for t in clean(re.split(r"\n(?:\r?\n){2,}", text))
    ]
    assert literal == clean(text.split("||"))


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_a_bad_record_is_named_by_byte_and_line(monkeypatch, cut):
    raw = "one\ntwö\n".encode() + b"th\xffree\nfour\nfi\0ve\nsix"
    got = read(monkeypatch, raw, cut, unit=Unit.LINE)
    assert [g for g in got if isinstance(g, str)] == ["one", "twö", "four", "six"]
    bad = [g for g in got if isinstance(g, Bad)]
    assert [(b.offset, b.line) for b in bad] == [(raw.index(b"\xff"), 3), (raw.index(b"\0"), 5)]
    assert str(bad[0]) == "x.txt: byte 11 (line 3): not UTF-8 (byte 0xff)"


def test_binary_and_utf16_files_are_one_bad_record(monkeypatch):
    for raw, word in ((b"\x7fELF\0\0\n\0\n\0and\n", "binary"), ("hello\nyou".encode("utf-16"), "UTF-16")):
        (bad,) = read(monkeypatch, raw, 1000, unit=Unit.LINE)
        assert word in bad.reason and bad.offset == 0


def test_byte_order_mark_is_no_text(monkeypatch):
    assert read(monkeypatch, b"\xef\xbb\xbfone\n\xfftwo", 1000, unit=Unit.LINE) == [
        "one",
        Bad("x.txt", 7, "not UTF-8 (byte 0xff)", 2),
    ]


def test_a_document_past_the_limit_is_bad_and_the_next_one_is_not(tmp_path, monkeypatch):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a\n" * 25 + b"a\n\nshort\n\nb\xff\n\n" + b"b" * 50)
    monkeypatch.setattr(readers, "chunks", lambda p: (p.read_bytes()[i : i + 8] for i in range(0, 200, 8)))
    got = list(TextInput("x", path, 20, unit=Unit.BLOCK).records())
    assert got[1] == "short"
    assert [(b.offset, b.line, b.reason[:8]) for b in got if isinstance(b, Bad)] == [
        (0, 1, "a docume"),
        (61, 30, "not UTF-"),
        (64, 32, "a docume"),
    ]


def test_records_can_begin_in_the_middle(tmp_path):
    path = tmp_path / "x.txt"
    path.write_bytes(b"a\nb\n\xff\nc\n")
    item = TextInput("x", path, LIMIT, unit=Unit.LINE)
    assert list(item.records(2)) == list(item.records())[2:]


def pack(path, raw):
    if path.suffix == ".gz":
        return gzip.compress(raw[:7]) + gzip.compress(raw[7:])  # two members, as from `cat a.gz b.gz`
    if path.suffix == ".xz":
        return lzma.compress(raw)
    zstandard = pytest.importorskip("zstandard")
    return zstandard.compress(raw[:7]) + zstandard.compress(raw[7:])


@pytest.mark.parametrize("name", ["x.txt.gz", "x.txt.xz", "x.txt.zst"])
def test_compressed_files_and_damage_in_them(tmp_path, name):
    path = tmp_path / name
    raw = "".join(f"line {i} é {i * 7919}\n" for i in range(500)).encode()
    packed = pack(path, raw)
    path.write_bytes(packed)
    item = TextInput(name, path, LIMIT, unit=Unit.LINE)
    assert list(item.records()) == raw.decode().splitlines()
    if name.endswith((".gz", ".xz")):
        path.write_bytes(packed[: len(packed) // 2])
        with pytest.raises(UserError, match="damaged after byte"):
            list(item.records())
    path.write_bytes(b"no compressed data at all")
    with pytest.raises(UserError, match="damaged after byte 0"):
        list(item.records())


def test_json_lines(tmp_path):
    path = tmp_path / "x.jsonl"
    lines = [
        json.dumps({"text": "one\ntwo é", "n": 1}),
        "",
        '{"text": "torn',
        '{"body": "x"}',
        '{"text": 7}',
        '{"text": null}',
        "[1]",
        '{"text": "half \\ud800"}',
        '{"text": "nul \\u0000"}',
        json.dumps({"text": "last"}, ensure_ascii=False),
    ]
    path.write_text("\n".join(lines))
    got = list(JsonInput("x", path, LIMIT).records())
    assert [g for g in got if isinstance(g, str)] == ["one\ntwo é", "last"]
    bad = {g.line: g for g in got if isinstance(g, Bad)}
    assert sorted(bad) == [3, 4, 5, 6, 7, 8, 9]
    assert all(bad[n].offset == len("\n".join(lines[: n - 1])) + 1 for n in bad)
    assert "not JSON" in bad[3].reason and bad[4].reason.startswith("no field 'text'")
    assert "int" in bad[5].reason and "nothing" in bad[6].reason and "object" in bad[7].reason


def test_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"body": ["one", None, "trois é"], "n": [1, 2, 3]}), path, row_group_size=2)
    got = list(ParquetInput("x", path, LIMIT, "body").records())
    assert got == ["one", Bad(str(path), 1, "field 'body' holds nothing, not text", unit="row"), "trois é"]
    with pytest.raises(UserError, match=r"no column 'text'.*body, n"):
        list(ParquetInput("x", path, LIMIT, "text").records())
    path.write_bytes(b"PAR1 nothing of the kind")
    with pytest.raises(UserError, match="not a readable Parquet"):
        list(ParquetInput("x", path, LIMIT, "body").records())


def test_unit_is_found_in_the_first_file(tmp_path):
    path = tmp_path / "x.txt"
    cases = {
        "a b\n\nc\n\n\nd": Unit.SECTION,
        "a\n\nb\nc\n \nd\n\n\n": Unit.BLOCK,
        "a\nb\n": Unit.LINE,
        "a b c\n": Unit.FILE,
        "": Unit.FILE,
    }
    for text, unit in cases.items():
        path.write_text(text)
        assert detect_unit(path, several=False) is unit
        assert detect_unit(path, several=True) is Unit.FILE
