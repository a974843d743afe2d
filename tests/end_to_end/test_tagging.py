# SPDX-License-Identifier: Apache-2.0
"""`finetune` on CoNLL files: it learns, keeps its best by F1, and says in one line what a file lacks."""

import json

import pytest

from ssl_jax.cli.main import main
from ssl_jax.workdir import Workdir
from tests.end_to_end.runs import lines, said
from tests.tasks import letters

RECIPE = """
import dataclasses

from ssl_jax.config import load_recipe
from ssl_jax.data import Tagged
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import Tagging
from ssl_jax.optim import Optim
from ssl_jax.text import Text, WordPieceVocab


def config():
    shipped, _, _ = load_recipe("tagging:ner")
    return dataclasses.replace(
        shipped,
        model=BertConfig(num_layers=1, dim=32, num_heads=2, max_positions=16, dropout=0.0),
        objective=Tagging(plan=Tagged(length=16)),
        text=Text(tokenizer=WordPieceVocab(path={vocab!r})),
        optim=Optim(peak_lr=1e-2),
        loop=Loop(duration=Steps(60), batch_size=16, log_every=20),
        evals=Evals(every=30),
        checkpoint=dataclasses.replace(shipped.checkpoint, every=30),
    )
"""


@pytest.fixture
def attempt(tmp_path, monkeypatch, capsys):
    """attempt(name of a split's file, its content in place of the good one) -> the exit status."""
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    letters.tokenizer(tmp_path)
    (tmp_path / "tiny.py").write_text(RECIPE.format(vocab=str(tmp_path / "vocab.txt")), encoding="utf-8")
    data = letters.write_splits(tmp_path / "data")

    def run(**replaced):
        for name, content in replaced.items():
            (data / name.replace("_", ".")).write_text(content, encoding="utf-8")
        recipe, workdir = str(tmp_path / "tiny.py"), str(tmp_path / "run")
        return main(["finetune", recipe, "--from", "scratch", "--data", str(data), "--workdir", workdir])

    return run


@pytest.mark.slow
def test_it_learns_and_keeps_its_best_by_f1(attempt, tmp_path, capsys):
    assert attempt() == 0
    found = {line["step"]: line["heldout/f1"] for line in lines(tmp_path / "run") if "heldout/f1" in line}
    assert found.keys() == {0, 30, 60} and found[0] < 0.3 and max(found.values()) > 0.9
    place = Workdir(tmp_path / "run")
    assert place.resolved()["labels"] == ["B-LOC", "B-PER", "I-PER", "O"]
    last = lines(tmp_path / "run")[-1]
    assert {"heldout/precision", "heldout/recall", "heldout/accuracy", "heldout/loss"} <= last.keys()
    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out)["heldout/f1"] == max(found.values())
    assert (tmp_path / "dev_predictions.conll").is_file()


@pytest.mark.parametrize(
    ("replaced", "line"),
    [
        ({"eng_train": "a O\nb\n"}, "eng.train: row 2: it has 1 columns, and the rows before have 2"),
        ({"eng_train": "\n"}, "eng.train: it holds no sentence"),
        ({"eng_train": "a\nb\n"}, "eng.train: row 1: it has no tag"),
        (
            {"eng_train": "a B-PER\nb I-PER\nc B-LOC\nd I-LOC\ne O\n\n\u200b O\n"},
            "eng.train: row 7: no token has a place in the sentence",
        ),
        ({"eng_testa": "a B-PER\nb B-ORG\n"}, "eng.testa: row 2: there is no label 'B-ORG'"),
        pytest.param(
            {"eng_testa": "h O\ni O\n"},
            "heldout: no entity in it, so that F1 is not defined",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["columns", "empty", "unlabelled", "no-token", "label", "one-class"],
)
def test_what_is_wrong_with_a_file_is_one_line(attempt, capsys, replaced, line):
    assert attempt(**replaced) == 2
    assert line in said(capsys)
