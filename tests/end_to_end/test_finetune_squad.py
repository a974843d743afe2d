# SPDX-License-Identifier: Apache-2.0
"""Question answering by the real command: what it learns, what its checkpoint keeps, what it refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import source, weights
from ssl_jax.cli.main import main
from ssl_jax.data import Record, Table
from ssl_jax.data.pipeline import Examples
from ssl_jax.objectives import answers
from tests.end_to_end.runs import lines, said
from tests.tasks.squad_json import RIVERS, corpus, paragraph, tree, write

RECIPE = """
from ssl_jax.data import Outside, Windows
from ssl_jax.experiment import Experiment
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.models import BertConfig
from ssl_jax.objectives import SpanPrediction
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.squad import Squad
from ssl_jax.text import SentencePiece, Text


def config(length=64):
    task = Squad(version2=True, tuning=0.2)
    return Experiment(
        model=BertConfig(num_layers=2, dim=32, num_heads=2, max_positions=64, dropout=0.0, scan=False),
        text=Text(tokenizer=SentencePiece(vocab_size=400)),
        task=task,
        objective=SpanPrediction(
            plan=Windows(length=length, stride=16, question=24, outside=Outside.NULL)
        ),
        optim=Optim(peak_lr=5e-3, schedule=Linear(warmup=0.1)),
        loop=Loop(duration=Steps(120), batch_size=16, log_every=20),
        evals=Evals(every=60),
        checkpoint=Checkpoint(every=60, keep_best=1, best=task.metric, higher_is_better=True),
    )


def too_short():
    return config(length=20)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipe") / "rivers.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def finetune(recipe, tmp_path, monkeypatch):
    """finetune(data, words, function): exit status of the command in this process."""
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))

    def run(data, *words, function: str = "") -> int:
        where = ["--data", str(data), "--workdir", str(tmp_path / "run")]
        return main(["finetune", f"{recipe}{function}", "--from", "scratch", *where, *map(str, words)])

    return run


@pytest.mark.slow
def test_it_learns_and_its_checkpoint_keeps_the_threshold(finetune, tmp_path, capsys):
    data = corpus(tmp_path / "rivers", train=150, dev=20, version2=True)
    assert finetune(data) == 0
    first, *_, last = [line for line in lines(tmp_path / "run") if "heldout/f1" in line]
    assert last["heldout/f1"] > max(0.5, first["heldout/f1"] + 0.1)

    found = source.find(str(tmp_path / "run"))
    task = found.place.experiment().task
    best = next(line for line in lines(tmp_path / "run") if line["step"] == found.step)
    assert found.measured["tuning/null_threshold"] == best["tuning/null_threshold"]
    assert found.measured["heldout/f1"] == best["heldout/f1"]
    assert task.null_threshold is None
    assert task.tuned(found.measured).null_threshold == best["tuning/null_threshold"]

    capsys.readouterr()
    assert main(["evaluate", str(tmp_path / "run"), "--json", "--out", str(tmp_path / "said")]) == 0
    assert json.loads(capsys.readouterr().out)["heldout/f1"] == found.measured["heldout/f1"]
    assert (tmp_path / "said" / "predictions.json").is_file()

    loaded = weights.load(str(tmp_path / "run"))
    context = f"The {RIVERS[0]} is 940 miles long. It flows through City7, and then to the sea."
    found = asked(loaded, f"How long is the {RIVERS[0]}?", context)
    assert all(answer.text == context[answer.begin : answer.end] for answer in found.best)
    assert found.best[0].text in ("940", "940 miles", "940 miles long.")


def asked(loaded, question: str, context: str) -> answers.Found:
    """One typed question, as the model's training read its own."""
    table = Table([Record((question, context))], loaded.tokenizer, loaded.network.text)
    plan = loaded.objective.plan.open(table, seed=0, shuffle=False)
    rows = [plan[r] for r in range(plan.num_rows)]
    batch = jax.tree.map(jnp.asarray, Examples(plan, loaded.objective, seed=0)(range(plan.num_rows)))
    outputs = jax.device_get(loaded.objective.predict(loaded.model, batch))
    windows = [row.fields["window"] for row in rows]
    assert np.isfinite(outputs["start"]).all()
    return answers.find(windows, outputs["start"], outputs["end"], n_best=5, max_tokens=30)


def test_mistakes_are_one_line_with_file_and_question_and_status_2(finetune, tmp_path, capsys):
    data = corpus(tmp_path / "rivers", version2=True)
    assert finetune(data, function=":too_short") == 2
    assert "make length 28 or more" in said(capsys)
    assert finetune(tmp_path / "nowhere") == 2
    assert "nowhere: no such file or folder" in said(capsys)
    for context, asks, complaint in [
        ("x y", {"answers": [{"text": "cat", "answer_start": 0}]}, "question q7: the answer 'cat' is not in"),
        (" ", {"answers": [{"text": "x", "answer_start": 0}]}, "question q7: its context is empty"),
        ("x y", {}, "question q7: it has no answer to learn from"),
        ("x y", {"answers": "x"}, "question q7: not SQuAD's JSON"),
    ]:
        qas = [{"id": "q7", "question": "?", **asks}]
        good = (paragraph(i, version2=True) for i in range(8))
        path = write(data / "train-v2.0.json", tree(*good, {"context": context, "qas": qas}))
        assert finetune(data) == 2
        assert f"{path}: {complaint}" in said(capsys)
    path.write_text(json.dumps({"question": "x"}))
    assert finetune(data) == 2
    assert "train-v2.0.json: not SQuAD's JSON: data must be a list" in said(capsys)
