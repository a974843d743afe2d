# SPDX-License-Identifier: Apache-2.0
"""What users do by mistake: one line that says what to do, the right exit status, nothing half done."""

import sys

import pytest

from ssl_jax.cli.main import main
from ssl_jax.text import load
from ssl_jax.workdir import Workdir
from tests.end_to_end.runs import documents, kill, said, wait_for

GOOD = "\n".join(documents(40)).encode()


@pytest.fixture
def attempt(place, tmp_path, monkeypatch, capsys):
    """attempt(settings, ...) -> the one line that the command complained with, after checking its status."""
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))

    def run(*sets, status=2, workdir=tmp_path / "run", recipe=place.recipe, words=()) -> str:
        # 8 rows over the 8 devices of these tests leave nothing to accumulate.
        settings = [word for setting in ("loop.micro_batch=None", *sets) for word in ("--set", setting)]
        command = ["pretrain", str(recipe), "--workdir", str(workdir), *settings, *words]
        assert main(command) == status
        return said(capsys)

    return run


@pytest.fixture
def corpus(tmp_path):
    """corpus(content, name) -> the setting that trains on it."""

    def write(content: bytes, name: str = "corpus.txt") -> str:
        (tmp_path / name).write_bytes(content)
        return f"data.source={tmp_path / name}"

    return write


def published(tmp_path):
    """The stores that a later run would take as they are."""
    return [p.parent for p in (tmp_path / "cache").glob("stores/*/manifest.json")]


@pytest.mark.parametrize(
    ("content", "sets", "said"),
    [
        (None, [], "nowhere.txt: no such file or directory"),
        (b"", [], "no document"),
        (b"\x7fELF\x00\x00\x00\x01" * 100, [], "binary"),
        (b"caf\xe9 au lait.\nd\xe9j\xe0 vu.\n", [], "corpus.txt: byte 3 (line 1): not UTF-8"),
        (GOOD.replace(b"\n", b" "), [], "one document"),
        (GOOD, ["text.tokenizer.vocab_size=50000"], "vocab_size"),
        (b"  \n\t\n \n", [], "no document"),
    ],
    ids=["missing", "empty", "binary", "latin-1", "one", "vocabulary", "blank"],
)
def test_a_corpus_that_cannot_be_used(attempt, corpus, tmp_path, content, sets, said):
    source = f"data.source={tmp_path / 'nowhere.txt'}" if content is None else corpus(content)
    line = attempt(source, *sets)
    assert said in line
    assert not published(tmp_path)
    assert attempt(source, *sets) == line  # nothing that the first try left is believed


def test_pairs_need_two_documents_and_more_than_one_sentence(attempt, corpus):
    one = corpus(GOOD.replace(b"\n", b" "), "one.txt")
    assert "sentence pairs need 2" in attempt(one, "data.heldout=0.0")
    singles = "\n".join(d.split(".")[0] + "." for d in documents(60)).encode()
    assert "one sentence" in attempt(corpus(singles, "singles.txt"), "text.tokenizer.vocab_size=300")


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (["objective.plan.length=64"], "--set objective.plan.length=32"),
        (["loop.batch_size=12"], "--set loop.batch_size=16"),
        (["mesh.data=3"], "the product is 3, not the 8 devices"),
        (["mesh.fsdp=3"], "3 does not divide the 8 devices"),
        (["mesh.tensor=8"], "model.num_heads=2 does not divide by mesh.tensor=8"),
        (["mesh.context=8", "objective.plan.length=28"], "--set objective.plan.length=32"),
        (["mesh.rules.mlp=model"], "mesh.rules.mlp: no axis 'model'"),
        (["loop.micro_batch=3"], "loop.micro_batch=3"),
        (["model.num_heads=5"], "model.num_heads=5"),
        (["loop.num_steps=0"], "at least one"),
        (["text.tokenizer=None"], "leaves its network to a MODEL; say --from MODEL"),
    ],
)
def test_a_recipe_that_does_not_fit(attempt, corpus, sets, said):
    assert said in attempt(corpus(GOOD), *sets)


def test_a_start_that_failed_binds_nobody_to_its_recipe_or_corpus(attempt, corpus, tmp_path):
    attempt(corpus(GOOD, "first.txt"), "loop.batch_size=12")
    begun = load(tmp_path / "run" / "tokenizer").vocab_size
    line = attempt(corpus(GOOD, "other.txt"), "text.tokenizer.vocab_size=330", "model.dim=64", "mesh.data=3")
    assert "devices" in line
    assert load(tmp_path / "run" / "tokenizer").vocab_size == 330 != begun
    assert Workdir(tmp_path / "run").experiment().model.dim == 64


def test_a_start_that_was_killed_at_once_leaves_a_workdir_of_ours(attempt, corpus, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").touch()
    (tmp_path / "run" / "config.json.partial").write_text("{")
    assert "devices" in attempt(corpus(GOOD), "mesh.data=3")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--set", "optim.peak_rl=1"], "did you mean optim.peak_lr?"),
        (["--set", "loop.batch_size=many"], "loop.batch_size"),
        (["--from", "nowhere"], "nowhere"),
        (["--branch", "nowhere@3"], "nowhere"),
    ],
)
def test_arguments_that_name_nothing(attempt, corpus, words, said):
    assert said in attempt(corpus(GOOD), words=words)


def test_a_recipe_that_is_not_there(attempt):
    assert "no recipe bert_tinny; did you mean bert_tiny" in attempt(recipe="bert_tinny")


def test_workdirs_that_are_not_the_runs_own(attempt, tmp_path, corpus):
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("x")
    assert "holds no run" in attempt(workdir=foreign)
    assert "holds no run" in attempt(workdir=foreign, words=["--fresh"])
    assert [p.name for p in foreign.iterdir() if p.name != ".lock"] == ["thesis.tex"]
    assert "is a file" in attempt(workdir=foreign / "thesis.tex")
    assert "cannot write" in attempt(workdir="/proc/run", status=1)


@pytest.mark.parametrize(
    ("module", "name", "extra"),
    [("pyarrow", "x.parquet", "parquet"), ("zstandard", "x.txt.zst", "zstd"), ("datasets", "hf:wiki", "hf")],
)
def test_a_missing_extra_is_named(attempt, corpus, monkeypatch, module, name, extra):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setitem(sys.modules, f"{module}.parquet", None)
    source = f"data.source={name}" if ":" in name else corpus(b"PAR1" + GOOD, name)
    assert f"ssl_jax[{extra}]" in attempt(source)


def test_two_at_once_in_one_workdir(place, attempt, tmp_path):
    workdir = tmp_path / "run"
    process = place.pretrain(workdir)
    wait_for(process, (workdir / "config.json").exists)
    assert f"in use by process {process.pid} on" in attempt(workdir=workdir)
    kill(process)
