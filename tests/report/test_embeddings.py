# SPDX-License-Identifier: Apache-2.0
"""`ssl-jax embed` as it is typed: what it reads, what it leaves, what it says."""

import gzip
import json
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest

from ssl_jax import weights
from ssl_jax.cli.main import main
from ssl_jax.report import embeddings
from ssl_jax.text import Text
from tests.use.models import ENCODER, model, tokenizer


@pytest.fixture
def embed(monkeypatch, tmp_path, capsys):
    """embed(*words): the command in an empty folder, with a tiny MODEL; (status, stdout, stderr)."""
    loaded = SimpleNamespace(
        model=model(ENCODER), tokenizer=tokenizer(), network=SimpleNamespace(text=Text(tokenizer=None))
    )
    monkeypatch.setattr(weights, "load", lambda name: loaded)
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        return main(["embed", "MODEL", *words]), *capsys.readouterr()

    return run


def test_a_table_of_the_nearest_pairs(embed):
    status, out, err = embed(
        "--word", "bank", "--text", "the river bank", "--text", "a bank lent", "--layers", "1"
    )
    assert (status, err) == (0, "")
    assert "vectors: 2 x 16 numbers; texts: 2" in out
    assert "1: the river [bank]  2: a [bank] lent" in out and "1.0000" in out
    status, out, err = embed("--text", "one two three four five six")
    assert "nearest pairs" not in out and "all pairs" in out  # 15
    status, out, err = embed("--text", "one two three four five six seven")
    assert "nearest pairs" in out and "farthest pairs" in out


@pytest.mark.parametrize("name", ["lines.txt", "lines.txt.gz", "lines.jsonl"])
def test_files_of_every_kind_give_the_same_vectors(embed, tmp_path, name, monkeypatch):
    texts = [f"the bank number {i} of 苹果" for i in range(40)]
    lines = [json.dumps({"said": text}) for text in texts] if name.endswith("jsonl") else [*texts, "", " "]
    data = ("\n".join(lines) + "\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    monkeypatch.setattr(embeddings.embed, "CHUNK_TEXTS", 16)
    status, out, err = embed("--file", name, "--text-key", "said", "--word", "苹", "--out", "found.npz")
    assert status == 0 and "found.npz: 40 x 16 numbers; texts: 40" in out and "embed: 40 texts" in err
    found = np.load("found.npz", allow_pickle=False)
    assert found["words"].tolist() == ["苹"] * 40 and found["texts"].tolist() == list(range(40))
    expected = embeddings.embed.embed(model(ENCODER), tokenizer(), texts, word="苹")
    assert np.array_equal(found["starts"], expected.starts)
    assert np.abs(found["vectors"] - expected.vectors).max() < 1e-5


def test_a_heatmap_has_every_place_of_the_word_as_text(embed, monkeypatch):
    texts = ["--text", "a 苹果 & a pear", "--text", "苹果 phones", "--text", "one more 苹果"]
    status, out, err = embed(*texts, "--word", "苹", "--heatmap", "apple.svg")
    assert (status, err) == (0, "") and "apple.svg: 3 places" in out
    shown = [
        "".join(n.itertext()) for n in ElementTree.parse("apple.svg").iter("{http://www.w3.org/2000/svg}text")
    ]
    assert {"苹果 & a pear", "苹果 phones", "苹果", "a ", "one more "} <= set(shown)
    monkeypatch.setattr(embeddings, "DRAWN", 2)
    status, out, err = embed(*texts, "--word", "苹", "--heatmap", "two.svg", "--out", "all.npz")
    assert status == 0 and "two.svg: 2 places" in out and len(np.load("all.npz")["texts"]) == 3
    status, out, err = embed(*texts, "--word", "苹", "--heatmap", "two.svg")
    assert "the first 2" in err


def test_a_png_says_which_letters_no_font_here_has(embed, tmp_path):
    pytest.importorskip("resvg_py")
    pytest.importorskip("fontTools")
    status, _, err = embed(
        "--text", "bank \U0010fffd", "--text", "bank", "--word", "bank", "--heatmap", "b.png"
    )
    assert status == 0 and "warning: no font here has" in err and "\U0010fffd" in err
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--text", "a", "--word", "b"], "'b' is in none of the texts; case and accents count"),
        (["--text", "a", "--layers", "3"], "no layer 3: this MODEL has 2"),
        (["--text", "a", "--layers", "sum:1"], "layers 'sum:1': write"),
        (["--file", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--file", "blank.txt"], "blank.txt: there is no text in it"),
        (["--file", "bad.jsonl"], "bad.jsonl: byte 14 (line 2): no field 'text' (name it with --text-key)"),
        (["--text", "a", "--text", " "], "text 2 is empty"),
        (["--text", "a", "--out", "a.csv"], "ends in .npz or .parquet"),
        (["--text", "a", "--heatmap", "a.svg"], "say which with --word"),
        (["--text", "a", "--word", "a", "--heatmap", "a.jpg"], "ends in .svg or .png"),
        (["--text", "a", "--word", "a", "--heatmap", "no/a.svg"], "there is no folder no"),
        (["--text", "a", "--word", "b", "--out", "b.npz"], "'b' is in none"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(embed, tmp_path, words, said):
    (tmp_path / "blank.txt").write_text("\n \n")
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"txt": "b"}\n')
    before = set(tmp_path.iterdir())
    status, _, err = embed(*words)
    assert status == 2 and said in err and err.count("\n") == 1
    assert set(tmp_path.iterdir()) == before
