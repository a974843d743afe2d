# SPDX-License-Identifier: Apache-2.0
"""generate, fill-mask, predict and evaluate as typed, on tiny models that lie in no workdir."""

import json
import math

import pytest

from ssl_jax import text, weights
from ssl_jax.cli.main import main
from ssl_jax.data import Labelled, Pairs
from ssl_jax.objectives import BertPretraining, Classification, NextToken
from tests.models.tiny import BERT, GPT
from tests.use.conftest import LINES
from tests.use.made import LABELS, made


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    text.SentencePiece(vocab_size=400).train(LINES, folder)
    tokenizer = text.load(folder)
    pretraining = BertPretraining(plan=Pairs(length=24))
    return {
        "gpt": made(NextToken(), GPT, tokenizer, spread=0.5),
        "bert": made(pretraining, BERT, tokenizer),
        "stance": made(Classification(plan=Labelled(length=24)), BERT, tokenizer),
    }


@pytest.fixture
def run(models, monkeypatch, capsys, tmp_path):
    """run("generate", "gpt", ...) -> (status, stdout, stderr), in an empty folder."""
    monkeypatch.setattr(weights, "load", lambda model: models[model])
    monkeypatch.setattr(weights, "find", lambda model: models[model].source)
    monkeypatch.chdir(tmp_path)

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capsys.readouterr()

    return run


def test_generate_streams_what_json_says(run):
    words = ("generate", "gpt", "The dog", "--max-tokens", 12, "--temperature", 1, "--seed", 4)
    status, out, err = run(*words)
    _, again, _ = run(*words, "--json", "--show")
    said = json.loads(again)
    assert (status, err) == (0, "")
    assert out == f"The dog{said['text']}\n"
    assert [len(five) for five in said["likeliest"]] == [5] * len(said["tokens"])
    _, shown, _ = run(*words, "--show")
    *steps, end = shown.split("\n", len(said["tokens"]))
    assert end == out and all(step.count("%") == 5 for step in steps)


def test_generate_of_a_file_is_a_line_a_prompt(run, tmp_path):
    (tmp_path / "p.jsonl").write_text(json.dumps({"prompt": "The dog"}) + "\n" + json.dumps("床前") + "\n")
    status, out, err = run("generate", "gpt", "--file", "p.jsonl", "--json", "--max-tokens", 100)
    said = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [one["prompt"] for one in said] == ["The dog", "床前"]
    assert {one["stop"] for one in said} <= {"positions", "end"}
    assert err.count("no further") == sum(one["stop"] == "positions" for one in said) > 0


def test_fill_mask_of_several_masks(run, tmp_path):
    status, out, _ = run("fill-mask", "bert", "The [MASK] sat on the [MASK].", "--top", 3)
    assert status == 0 and [line.count("%") for line in out.splitlines()] == [0, 3, 3]
    (tmp_path / "t.txt").write_text("A [MASK].\n[MASK] b [MASK] c [MASK].\n")
    _, out, _ = run("fill-mask", "bert", "--file", "t.txt", "--json")
    said = [json.loads(line) for line in out.splitlines()]
    assert [len(one["masks"]) for one in said] == [1, 3]
    assert all(0 < guess["probability"] < 1 for one in said for mask in one["masks"] for guess in mask)


def test_predict_of_typed_texts_and_of_files(run, tmp_path):
    status, out, _ = run("predict", "stance", "The dog", "sat on the mat")
    assert status == 0 and all(label in out for label in LABELS)
    (tmp_path / "pairs.tsv").write_text("The dog\tsat on\na\tb\nOnce upon a time a list\t" + "of names " * 20)
    for model, field in (("stance", "probabilities"), ("bert", "probability")):
        status, out, err = run("predict", model, "--file", "pairs.tsv", "--json", "--batch-size", 2)
        said = [json.loads(line) for line in out.splitlines()]
        assert status == 0 and len(said) == 3 and all(field in one for one in said)
        assert [one["cut"] for one in said] == [False, False, True] and "1 of the texts" in err
    assert "B follows A" in run("predict", "bert", "The dog sat.", "The cat sat.")[1]


def test_evaluate_a_language_model(run, tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(LINES))
    status, out, _ = run("evaluate", "gpt", "--data", "t.txt", "--window", 16, "--stride", 8, "--json")
    said = json.loads(out)
    assert status == 0 and said["bytes"] == sum(len(line.encode()) for line in LINES)
    bits = math.log2(said["perplexity"]) * said["tokens"]
    assert said["bits_per_byte"] == pytest.approx(bits / said["bytes"])
    (tmp_path / "w.txt").write_text("The dog sat\nA list of names\n")
    assert (
        json.loads(run("evaluate", "gpt", "--data", "w.txt", "--task", "last-word", "--json")[1])["texts"]
        == 2
    )
    question = {"context": "The dog", "choices": ["sat", "is a value"], "answer": "sat"}
    (tmp_path / "q.jsonl").write_text(json.dumps(question) + "\n")
    assert "accuracy_normalised" in run("evaluate", "gpt", "--data", "q.jsonl", "--task", "choice")[1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["generate", "gpt"], "give a prompt, or --file FILE"),
        (["generate", "gpt", "a", "--file", "x"], "not both"),
        (["generate", "gpt", " "], "prompt 1 is empty"),
        (["generate", "gpt", "dog " * 60], "the model has 40 positions"),
        (["generate", "gpt", "a", "--top-k", "3"], "set a temperature too"),
        (["generate", "bert", "a"], "ssl-jax fill-mask MODEL"),
        (["generate", "gpt", "--file", "no.txt"], "no.txt: there is no such file"),
        (["generate", "gpt", "--file", "bad.jsonl"], "bad.jsonl: line 2: not JSON"),
        (["fill-mask", "bert", "no mask"], "there is no [MASK]"),
        (["fill-mask", "gpt", "[MASK]"], "ssl-jax generate MODEL"),
        (["fill-mask", "bert", "dog " * 60 + "[MASK]"], "40 positions"),
        (["fill-mask", "bert", "--file", "lines.txt"], "lines.txt: line 2: there is no [MASK]"),
        (["predict", "gpt", "a"], "has no head"),
        (["predict", "bert", "a"], "reads a pair of sentences; 1 text given"),
        (["predict", "bert", "--file", "lines.txt"], "lines.txt: line 1: this MODEL reads a pair"),
        (["evaluate", "gpt"], "--data FILES"),
        (["evaluate", "gpt", "--data", "no.txt"], "ssl-jax: no.txt: no such file"),
        (["evaluate", "gpt", "--data", "no.txt", "--task", "choice"], "ssl-jax: no.txt: no such file"),
        (
            ["evaluate", "gpt", "--data", "bad.jsonl", "--task", "choice"],
            "bad.jsonl: line 1: no field 'context'",
        ),
        (["evaluate", "bert", "--data", "lines.txt"], "fills masks"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(run, tmp_path, words, said):
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{\n')
    (tmp_path / "lines.txt").write_text("a [MASK]\nb\n")
    status, _, err = run(*words)
    assert status == 2 and said in err
    assert err.rstrip("\n").splitlines()[-1].startswith("ssl-jax: ") and "Traceback" not in err


def test_ctrl_c_leaves_nothing_to_go_on_with(run, monkeypatch):
    def interrupted(model):
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "load", interrupted)
    assert run("generate", "gpt", "a") == (130, "", "ssl-jax: interrupted\n")
