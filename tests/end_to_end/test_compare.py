# SPDX-License-Identifier: Apache-2.0
"""One task from several starts, and several tasks as one table, by the real command."""

import json
import random

import numpy as np
import pytest

from ssl_jax.cli.main import main
from tests.end_to_end.runs import curve, documents, parameters, said

RECIPE = """
import dataclasses

from ssl_jax.data import Labelled
from ssl_jax.experiment import Experiment, Member, Suite
from ssl_jax.loop.checkpoint import Checkpoint
from ssl_jax.loop.hooks import Evals
from ssl_jax.loop.loop import Loop, Steps
from ssl_jax.objectives import Classification
from ssl_jax.optim import Linear, Optim
from ssl_jax.tasks.columns import Columns
from ssl_jax.text import Text


def config():
    task = Columns(data={data!r})
    return Experiment(
        text=Text(tokenizer=None),
        task=task,
        objective=Classification(plan=Labelled(length=32)),
        optim=Optim(peak_lr=3e-3, schedule=Linear(warmup=0.1)),
        loop=Loop(duration=Steps(6), batch_size=8, log_every=1),
        evals=Evals(every=3),
        checkpoint=Checkpoint(every=3, keep_last=1, keep_best=1, best=task.metric, higher_is_better=True),
    )


def both():
    one = config()
    members = Member(name="first", experiment=one), Member(name="second", experiment=one, after="first")
    return Suite(members=members, averaged=("first",), average="the first alone")
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("task")
    draw = random.Random(1)
    for split, count in (("train", 64), ("dev", 24)):
        texts = documents(count, sentences=(1, 1))
        rows = [f"{text}\t{draw.choice(['ka', 'lo'])}" for text in texts]
        (folder / f"{split}.tsv").write_text("text\tlabel\n" + "\n".join(rows) + "\n")
    path = folder / "pick.py"
    path.write_text(RECIPE.format(data=str(folder)))
    return path


@pytest.mark.slow
def test_every_start_sees_the_same_data_in_the_same_order(recipe, whole, tmp_path, capsys):
    words = ["compare", str(recipe), "--from", str(whole), "--against", "scratch", "--seeds", "2"]
    words += ["--labels", "0.5,1", "--workdir", str(tmp_path / "table")]
    assert main(words) == 0
    out = capsys.readouterr().out
    cells = json.loads((tmp_path / "table" / "comparison.json").read_text())
    name = whole.name
    assert [(c["labels"], c["start"]) for c in cells] == [
        (share, start) for share in (0.5, 1.0) for start in (name, f"{name}, trunk frozen", "scratch")
    ]
    for share in (0.5, 1.0):
        for seed in (0, 1):
            runs = [
                tmp_path / "table" / f"{share:g}" / arm / f"seed{seed}"
                for arm in (name, f"{name}-frozen", "scratch")
            ]
            seen = [[(line["hash"], line["rows"], line["lr"]) for line in curve(run)[1:]] for run in runs]
            assert seen[0] == seen[1] == seen[2] and len(seen[0]) == 6
            before = [curve(run)[0]["heldout/loss"] for run in runs]
            assert before[0] == before[1] != before[2]
    assert seen[0] != [
        (line["hash"], line["rows"], line["lr"]) for line in curve(runs[0].parent / "seed0")[1:]
    ]
    for cell in cells:
        values = [run["heldout/accuracy"] for run in cell["runs"]]
        np.testing.assert_allclose((cell["mean"], cell["std"]), (np.mean(values), np.std(values, ddof=1)))

    theirs, rested = parameters(whole), parameters(tmp_path / "table" / "1" / f"{name}-frozen" / "seed0")
    trunk = [leaf for leaf in rested if leaf.startswith("params.trunk.")]
    assert trunk
    for leaf in trunk:
        np.testing.assert_array_equal(rested[leaf], theirs[leaf.replace("params.", "ema.")], err_msg=leaf)

    table = out[out.index("accuracy on dev") :]
    assert main(words) == 0
    again = capsys.readouterr().out
    assert table == again[again.index("accuracy on dev") :] and "seed 0: accuracy" not in again


@pytest.mark.slow
def test_a_suite_is_one_table_and_goes_on_where_it_was(recipe, whole, tmp_path, capsys):
    words = [
        "finetune",
        f"{recipe}:both",
        "--from",
        str(whole),
        "--seeds",
        "2",
        "--workdir",
        str(tmp_path / "s"),
    ]
    assert main([*words, "--only", "first"]) == 0
    capsys.readouterr()
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "\nfirst, seed 0" not in f"\n{out}" and "second-after-first, seed 1: accuracy" in out
    assert "the first alone" in out and "mean, started from first" in out
    entries = json.loads((tmp_path / "s" / "suite.json").read_text())
    assert [(e["task"], e["started_from"], e["seed"]) for e in entries] == [
        ("first", "MODEL", 0), ("first", "MODEL", 1),
        ("second", "MODEL", 0), ("second", "MODEL", 1), ("second", "first", 0), ("second", "first", 1),
    ]  # fmt: skip
    first = json.loads((tmp_path / "s" / "second-after-first" / "seed1" / "config.json").read_text())["init"]
    assert first == str(tmp_path / "s" / "first" / "seed1")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("finetune", "{recipe}"), "say --from MODEL, or --from scratch:MODEL"),
        (("finetune", "{recipe}", "--from", "nowhere"), "there is no MODEL nowhere"),
        (("finetune", "{recipe}:both", "--from", "{model}", "--only", "third"), "there is no task third"),
        (("finetune", "bert_tiny", "--from", "{model}"), "has no task; pretraining is: ssl-jax pretrain"),
        (("compare", "{recipe}", "--from", "{model}", "--against", "nowhere"), "there is no MODEL nowhere"),
        (("compare", "{recipe}", "--from", "{model}", "--against", "{model}"), "is named twice"),
        (("compare", "{recipe}", "--from", "{model}", "--against", "scratch", "--set", "seed=7"), "varies"),
        (("finetune", "{recipe}", "--from", "{model}", "--set", "fresh_layers=3"), "the model has 2 layers"),
    ],
)  # fmt: skip
def test_starts_that_are_none(words, message, recipe, whole, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled = [word.format(recipe=recipe, model=whole) for word in words]
    assert main(filled) == 2
    assert message in said(capsys)


@pytest.mark.slow
def test_fresh_layers_are_drawn_and_those_below_are_the_models(recipe, whole, tmp_path):
    words = ["finetune", str(recipe), "--from", str(whole), "--workdir", str(tmp_path / "run")]
    sets = ["--set", "fresh_layers=1", "--set", "optim.peak_lr=0", "--set", "loop.num_steps=1"]
    assert main([*words, *sets]) == 0
    mine, theirs = parameters(tmp_path / "run"), parameters(whole)
    kernel = "trunk.stack.blocks.mlp.up.kernel"
    ours, before = mine[f"params.{kernel}"], theirs[f"ema.{kernel}"]
    np.testing.assert_array_equal(ours[0], before[0])
    assert np.abs(ours[1] - before[1]).max() > 1e-3


@pytest.mark.slow
def test_a_head_of_other_labels_is_drawn_anew(recipe, whole, tmp_path, capsys):
    """MNLI's three classes to RTE's two: "doesn't fit this model", after hours of MNLI."""
    one = ["finetune", str(recipe), "--set", "loop.num_steps=3"]
    assert main([*one, "--from", str(whole), "--workdir", str(tmp_path / "two")]) == 0
    for split in ("train", "dev"):
        rows = (recipe.parent / f"{split}.tsv").read_text().splitlines()
        more = [row.replace("\tlo", "\tmi") if i % 3 == 0 else row for i, row in enumerate(rows)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(more) + "\n")
    capsys.readouterr()
    words = ["--from", str(tmp_path / "two"), "--data", str(tmp_path), "--workdir", str(tmp_path / "three")]
    assert main([*one, *words]) == 0
    assert "fresh heads: classifier\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_table_never_takes_the_run_of_another_start_for_its_own(recipe, whole, tmp_path, capsys):
    words = ["compare", str(recipe), "--against", "scratch", "--seeds", "1", "--no-frozen"]
    words += ["--workdir", str(tmp_path / "table"), "--set", "loop.num_steps=1"]
    assert main([*words, "--from", str(whole)]) == 0
    capsys.readouterr()
    assert main([*words, "--from", f"{whole}@36"]) == 2
    assert "was started from" in said(capsys)


@pytest.mark.slow
def test_one_file_of_examples_ends_with_its_table(recipe, whole, tmp_path, capsys):
    """The last of its steps done, it read the file as a folder: NotADirectoryError."""
    words = ["finetune", str(recipe), "--from", str(whole), "--data", str(recipe.parent / "train.tsv")]
    assert main([*words, "--workdir", str(tmp_path / "run"), "--set", "loop.num_steps=1"]) == 0
    assert "1 steps done" in capsys.readouterr().out
