# SPDX-License-Identifier: Apache-2.0
"""What `data.source` may say, and what is listed for it."""

import os
import sys
import types

import pytest

from ssl_jax.data import (
    Data,
    HuggingFace,
    JsonLines,
    Mixture,
    Parquet,
    PythonDocs,
    TextFiles,
    Tfds,
    Unit,
    Weighted,
)
from ssl_jax.data import files as files_module
from ssl_jax.data.files import ContentHashes, listing, suffix
from ssl_jax.data.readers import Bad
from ssl_jax.data.sources import open_sources, parse
from ssl_jax.types import UserError


@pytest.fixture
def tree(tmp_path):
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden/d.txt", "sub/.e.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    return tmp_path


def test_listing_is_sorted_recursive_and_named_from_the_root(tree):
    names = [name for name, _ in listing(str(tree))]
    assert names == ["a.txt", "b.txt", "sub/c.txt"]
    assert [name for name, _ in listing(f"{tree}/*.txt")] == ["a.txt", "b.txt"]
    assert [name for name, _ in listing(f"{tree}/**/*.txt")] == names
    assert [name for name, _ in listing(f"{tree}/b.txt")] == ["b.txt"]
    for pattern, word in ((f"{tree}/nothing", "no such"), (f"{tree}/*.csv", "no files")):
        with pytest.raises(UserError, match=word):
            listing(pattern)


def test_relative_and_home_paths(tree, monkeypatch):
    monkeypatch.chdir(tree)
    assert [n for n, _ in listing("*.txt")] == ["a.txt", "b.txt"]
    monkeypatch.setenv("HOME", str(tree))
    assert [n for n, _ in listing("~/sub")] == ["c.txt"]


def test_suffixes():
    assert suffix("a.b.jsonl.gz") == (".jsonl", ".gz")
    assert suffix("a.xz") == ("", ".xz") and suffix("a.txt") == (".txt", "")


def test_strings(tree):
    assert parse("python-docs") == PythonDocs()
    assert parse("tfds:glue/sst2:validation") == Tfds(name="glue", config="sst2", split="validation")
    assert parse("tfds:lm1b") == Tfds(name="lm1b")
    assert parse("tfds:lm1b:train[:10%]") == Tfds(name="lm1b", split="train[:10%]")
    assert parse("hf:owner/name/config:test") == HuggingFace(name="owner/name", config="config", split="test")
    assert parse(str(tree), Unit.LINE) == TextFiles(pattern=str(tree), unit=Unit.LINE)
    (tree / "x").mkdir()
    (tree / "x" / "y.jsonl.gz").write_bytes(b"")
    assert parse(f"{tree}/x") == JsonLines(pattern=f"{tree}/x")
    (tree / "z.parquet").write_bytes(b"")
    assert parse(f"{tree}/z.parquet") == Parquet(pattern=f"{tree}/z.parquet")
    with pytest.raises(UserError, match="json and parquet and text"):
        parse(str(tree))


def test_many_small_files_are_documents(tree):
    (source,) = open_sources(Data(source=str(tree)))
    assert list(source.records()) == ["text of a.txt", "text of b.txt", "text of sub/c.txt"]


def test_mixture_flattens_and_names_apart(tree):
    a = TextFiles(pattern=f"{tree}/a.txt")
    inner = Mixture(sources=(Weighted(source=a, weight=1), Weighted(source=a, weight=3, name="again")))
    outer = Mixture(sources=(Weighted(source=inner, weight=2), Weighted(source=f"{tree}/a.txt", weight=2)))
    opened = open_sources(Data(source=outer))
    assert [(o.name, o.weight) for o in opened] == [("a.txt", 0.125), ("again", 0.375), ("a.txt'", 0.5)]
    for bad, word in ((0.0, "above 0"), (-1.0, "above 0"), (float("nan"), "above 0")):
        with pytest.raises(UserError, match=word):
            open_sources(Data(source=Mixture(sources=(Weighted(source=a, weight=bad),))))


@pytest.mark.parametrize(
    ("name", "module", "extra"),
    [
        ("x.parquet", "pyarrow", "parquet"),
        ("x.txt.zst", "zstandard", "zstd"),
        ("hf:some/set", "datasets", "hf"),
    ],
)
def test_a_missing_extra_is_one_line_with_the_command(tmp_path, monkeypatch, name, module, extra):
    monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "x.parquet").write_bytes(b"")
    (tmp_path / "x.txt.zst").write_bytes(b"")
    path = name if name.startswith("hf:") else str(tmp_path / name)
    with pytest.raises(UserError, match=rf"pip install 'ssl_jax\[{extra}\]'"):
        list(open_sources(Data(source=path))[0].records())


def test_hugging_face_rows(monkeypatch):
    class Rows:
        column_names = ("text", "n")
        dataset_size = 100
        _fingerprint = "f"
        texts = ("one", None, "three")

        def __len__(self):
            return 3

        def __getitem__(self, rows):
            return {"text": list(self.texts[rows])}

    asked = []
    load = lambda *args, **kwargs: asked.append((args, kwargs)) or Rows()
    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load))
    (source,) = open_sources(Data(source="hf:owner/name/en:test"))
    assert asked == [(("owner/name", "en"), {"split": "test", "revision": None})]
    got = list(source.records())
    assert got[::2] == ["one", "three"]
    assert str(got[1]) == "hf:owner/name/en:test: row 1: field 'text' holds nothing, not text"
    with pytest.raises(UserError, match=r"no column 'body'.*text, n"):
        open_sources(Data(source="hf:owner/name", text_key="body"))


def test_python_docs_are_prose_of_the_installation():
    (source,) = open_sources(Data())
    texts = list(source.records())
    assert not any(isinstance(t, Bad) for t in texts)
    assert 1e6 < sum(map(len, texts)) < 6e6 and len(texts) > 200
    assert all(len(t.strip()) > 0 and "\0" not in t for t in texts)
    assert any("assert" in t and "AssertionError" in t for t in texts)  # the language reference
    assert any("\n\n" in t for t in texts)
    assert list(source.inputs[0].records(5)) == texts[5:]
    assert open_sources(Data())[0].identity() == source.identity()


def test_a_changed_file_is_hashed_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.txt"
    path.write_text("one")
    old = path.stat().st_mtime_ns - 10**12
    os.utime(path, ns=(old, old))
    asked = []
    digest = files_module.sha256_of
    monkeypatch.setattr(files_module, "sha256_of", lambda p: asked.append(p) or digest(p))
    # The change time can't be set back: move the clock instead.
    now = files_module.time.time_ns
    monkeypatch.setattr(files_module.time, "time_ns", lambda: now() + 10**10)
    first = ContentHashes()(path)
    assert ContentHashes()(path) == first and len(asked) == 1
    path.write_text("two")
    os.utime(path, ns=(old, old))  # same size and time: the change time gives it away
    assert ContentHashes()(path) != first and len(asked) == 2


def test_a_file_that_has_just_changed_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "x.txt"
    path.write_text("one")
    ContentHashes()(path)
    assert not (tmp_path / "cache").exists()
