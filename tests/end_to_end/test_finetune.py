# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning by the real command: killed and resumed, measured again, predictions written, mistakes."""

import json
import random
import signal
from types import SimpleNamespace

import pytest

from ssl_jax.cli.main import main
from tests.end_to_end.runs import (
    assert_same_state,
    curve,
    documents,
    end,
    interrupted,
    parameters,
    said,
)

RECIPE = """
from ssl_jax.data import Labelled
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import Classification
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.columns import Columns
from ssl_jax.tasks.glue import Glue, GlueTask
from ssl_jax.text import SentencePiece, Text


def config(task=Columns()):
    return Experiment(
        model=BertConfig(num_layers=1, dim=32, num_heads=2, max_positions=32, dropout=0.1),
        text=Text(tokenizer=SentencePiece(vocab_size=300)),
        task=task,
        objective=Classification(plan=Labelled(length=32)),
        optim=Optim(peak_lr=3e-3, schedule=Linear(warmup=0.1)),
        loop=Loop(duration=Steps(60), batch_size=16, log_every=1),
        evals=Evals(every=10),
        checkpoint=Checkpoint(
            every=10, keep_last=1, keep_best=1, best=task.metric, higher_is_better=True
        ),
    )


def sst2():
    return config(Glue(task=GlueTask.SST2))
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "sentences.py"
    path.write_text(RECIPE)
    return path


def tsv(path, rows, names="text\tlabel"):
    path.write_text("\n".join([names, *map("\t".join, rows)]) + "\n", encoding="utf-8")
    return path


def reviews(folder):
    """train, dev and test; a text is good if and only if it says so."""
    rng, folder = random.Random(3), folder / "reviews"
    folder.mkdir()
    for split, count in (("train", 200), ("dev", 40), ("test", 12)):
        rows = []
        for document in documents(count, sentences=(1, 2)):
            words, label = document.split(), rng.choice(["bad", "good"])
            words.insert(rng.randrange(len(words)), f"{label}{label}")
            rows.append((" ".join(words), label)[: 1 if split == "test" else 2])
        tsv(folder / f"{split}.tsv", rows, "text" if split == "test" else "text\tlabel")
    return folder


@pytest.fixture(scope="module")
def tuned(place, recipe, tmp_path_factory):
    """A run that nobody interrupted, and the command that made it."""
    folder = tmp_path_factory.mktemp("tuned")
    words = [recipe, "--from", "scratch", "--data", reviews(folder), "--workdir"]
    out, _ = end(place.start("finetune", *words, folder / "run"), 0)
    assert "labels bad, good" in out
    return SimpleNamespace(workdir=folder / "run", words=words, data=folder / "reviews")


def test_killed_and_resumed_equals_the_uninterrupted_run(place, tuned, tmp_path):
    workdir = tmp_path / "run"
    start = lambda: place.start("finetune", *tuned.words, workdir)
    assert interrupted(start, workdir, 33, signal.SIGKILL)[0] == -signal.SIGKILL
    out, _ = end(place.start("finetune", *tuned.words, workdir), 0)
    assert "resuming" in out
    ours, theirs = curve(workdir), curve(tuned.workdir)
    assert ours == theirs  # every loss, and every metric of the dev split, bit for bit
    measured = [line for line in ours if "heldout/macro_f1" in line]
    assert [line["step"] for line in measured] == [0, 10, 20, 30, 40, 50, 60]
    assert_same_state(parameters(workdir), parameters(tuned.workdir))


def test_evaluate_gives_what_training_measured_and_writes_predictions(tuned, tmp_path, capsys):
    best = max(line["heldout/accuracy"] for line in curve(tuned.workdir) if "heldout/accuracy" in line)
    assert best > 0.7  # of two classes: it learnt something
    assert main(["evaluate", str(tuned.workdir)]) == 0
    table = dict(line.split() for line in capsys.readouterr().out.splitlines()[1:])
    assert float(table["heldout/accuracy"]) == pytest.approx(best, abs=5e-5)
    assert set(table) == {"heldout/accuracy", "heldout/macro_f1"}
    assert main(["evaluate", str(tuned.workdir), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["heldout/accuracy"] == best

    assert main(["evaluate", str(tuned.workdir), "--split", "test", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"written: {tmp_path}/test.predictions.tsv\n"
    header, *rows = (tmp_path / "test.predictions.tsv").read_text().splitlines()
    assert header == "row\tprediction\tprobability_bad\tprobability_good"
    assert len(rows) == 12 and {row.split("\t")[1] for row in rows} <= {"bad", "good"}


def test_predict_wants_as_many_texts_as_training_had(tuned, capsys):
    assert main(["predict", str(tuned.workdir), "one", "another"]) == 2
    assert "this MODEL reads a text; 2 texts given" in said(capsys)


def test_what_evaluate_refuses(place, whole, tuned, tmp_path, capsys):
    def refused(*words, workdir=tuned.workdir):
        assert main(["evaluate", str(workdir), *map(str, words)]) == 2
        return said(capsys)

    assert "--split and --out are of a fine-tuned model" in refused("--split", "dev", workdir=whole)
    assert "--task, --window and --stride are of a language model" in refused("--window", "9")
    assert "has no split 'validation'; it has: dev, test, train" in refused("--split", "validation")
    assert "test has no labels to measure with; --out DIR" in refused("--split", "test")
    data = tsv(tmp_path / "dev.tsv", [("x", "bad"), ("y", "worse"), ("z", "good")])
    assert f"{data}: line 3: there is no label 'worse'; the labels are bad, good" in refused(
        "--data", tmp_path
    )
    tsv(data, [("x", "bad"), ("y", "bad")])
    assert f"{data}: line 2: all 2 labels from here on are bad" in refused("--data", tmp_path)


GOOD = [(text, ("good", "bad")[i % 2]) for i, text in enumerate(documents(16, sentences=(1, 2)))]


@pytest.mark.parametrize(
    ("train", "dev", "function", "expected"),
    [
        (GOOD, [("a", "god"), ("b", "bad")], "", "dev.tsv: line 2: there is no label 'god'"),
        ([*GOOD, ("", "bad")], GOOD, "", "train.tsv: line 18: column text is empty"),
        ([row[:1] for row in GOOD], GOOD, "", "train.tsv: line 2: 1 columns, the first line has 2"),
        (GOOD, [("a", "bad")] * 5, "", "dev.tsv: line 2: all 5 labels from here on are bad"),
        (GOOD, [], "", "dev.tsv names columns and holds no example"),
        (GOOD, None, "", "has no split 'dev'; it has: train"),
        (GOOD, GOOD, ":sst2", "train.tsv has no column sentence; it has: text, label"),
        (None, None, "", "there is no folder"),
    ],
)
def test_bad_examples_are_one_line_with_their_place(
    recipe, tmp_path, monkeypatch, capsys, train, dev, function, expected
):
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "data"
    for split, rows in (("train", train), ("dev", dev)):
        if rows is not None:
            folder.mkdir(exist_ok=True)
            tsv(folder / f"{split}.tsv", rows)
    words = ["--from", "scratch", "--data", str(folder), "--workdir", str(tmp_path / "run")]
    assert main(["finetune", f"{recipe}{function}", *words]) == 2
    assert expected in said(capsys)


def test_a_test_file_is_nothing_to_train_on(recipe, tmp_path, capsys):
    path = tsv(tmp_path / "train.tsv", [("a",), ("b",)], "text")
    words = ["--from", "scratch", "--data", str(tmp_path), "--workdir", str(tmp_path / "run")]
    assert main(["finetune", str(recipe), *words]) == 2
    assert f"{path} has no column label; it has: text" in said(capsys)
