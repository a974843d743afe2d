# SPDX-License-Identifier: Apache-2.0
"""The SQuAD task: files, what is set aside, bad input, scores and prediction files."""

import json
import math

import numpy as np
import pytest

from ssl_jax.data import Outside, Windows
from ssl_jax.data.plan_windows import ELSEWHERE
from ssl_jax.tasks import squad_files
from ssl_jax.tasks.base import Predicted
from ssl_jax.tasks.squad import Squad
from ssl_jax.tasks.squad_score import AnswerWords
from ssl_jax.types import UserError
from tests.data.questions import table
from tests.tasks.squad_json import asked, corpus, paragraph, tree, write
from tests.tasks.test_squad_score import normal, overlap


@pytest.fixture(scope="module")
def version1(tmp_path_factory):
    return str(corpus(tmp_path_factory.mktemp("v1")))


@pytest.fixture(scope="module")
def version2(tmp_path_factory):
    return str(corpus(tmp_path_factory.mktemp("v2"), version2=True))


def ids(records) -> set[str]:
    return {record.fields["id"] for record in records}


# ----------------------------------------------------------------------------------------- reading


def test_records_of_a_folder(version1):
    task = Squad(data=version1)
    train, dev = task.read("train"), task.read("dev")
    assert len(train) == 60 and len(dev) == 12 and not ids(train) & ids(dev)
    first = dev[0]
    question, context = first.texts
    assert (question, context[slice(*first.label)]) == ("How long is the Elbe?", "310 miles")
    assert first.fields == {"id": "d30a", "answers": ("310 miles", "310")}
    assert first.place.endswith("dev-v1.1.json.gz: question d30a")
    assert task.evaluations == {"heldout": "dev"} and task.labels(train) == ()


def test_a_question_without_an_answer(version2):
    dev = Squad(data=version2, version2=True).read("dev")
    none = [record for record in dev if record.fields["id"].endswith("c")]
    assert [(record.label, record.fields["answers"]) for record in none] == [((), ())] * 6
    assert all(record.label for record in dev if record not in none)


def test_an_empty_list_of_answers_is_no_answer_in_version_2(tmp_path):
    """Files that went through a data frame have lost is_impossible."""
    path = write(tmp_path / "dev.json", tree({"context": "x y", "qas": [asked(7, "who?", "x y")]}))
    assert Squad(data=str(path.parent), version2=True).read("dev")[0].label == ()


def test_the_file_of_the_version_is_taken(tmp_path):
    folder = corpus(corpus(tmp_path), version2=True)
    assert len(Squad(data=str(folder)).read("dev")) == 12
    assert len(Squad(data=str(folder), version2=True).read("dev")) == 18
    write(folder / "dev-v1.1-more.json", tree(paragraph(0)))
    with pytest.raises(
        UserError, match=r"one JSON file with dev or valid .* dev-v1.1-more.json, dev-v1.1.json"
    ):
        Squad(data=str(folder)).read("dev")


def test_one_file_is_parted_by_paragraph(tmp_path):
    path = write(tmp_path / "all.json", tree(*(paragraph(i) for i in range(60))))
    task = Squad(data=str(path), dev_share=0.3)
    train, dev = task.read("train"), task.read("dev")
    assert len(ids(train)) + len(ids(dev)) == 120 and 10 < len(dev) < 70
    assert not {r.texts[1] for r in train} & {r.texts[1] for r in dev}
    assert task.read("dev") == dev


def test_the_tuning_paragraphs_are_never_trained_on(version2):
    task = Squad(data=version2, version2=True, tuning=0.3)
    assert task.evaluations == {"heldout": "dev", "tuning": "tuning"}
    train, tuning = task.read("train"), task.read("tuning")
    assert len(ids(train)) + len(ids(tuning)) == 90 and len(tuning) > 3
    assert not {r.texts[1] for r in train} & {r.texts[1] for r in tuning}
    fixed = Squad(data=version2, version2=True, tuning=0.3, null_threshold=-2.0)
    assert fixed.evaluations == {"heldout": "dev"} and len(fixed.read("train")) == 90


CATS = "a cat, a cat, (cat)"  # at 2, 9 and 15


@pytest.mark.parametrize(
    ("offset", "begin"), [(9, 9), (15, 15), (8, 9), (0, 2), (5, 2), (13, 15), (400, 15), (-3, 2)]
)
def test_an_offset_that_misses_takes_the_nearest_occurrence(offset, begin):
    """SQuAD's dev has offsets of a first occurrence: right ones are never moved."""
    assert squad_files.locate(CATS, "cat", offset, "here") == (begin, begin + 3)


def test_offsets_in_utf16_units_are_understood():
    context = "😀😀 the cat 😀 and a cat"
    offset = len(context[: context.rindex("cat")].encode("utf-16-le")) // 2
    assert offset != context.rindex("cat")
    assert squad_files.locate(context, "cat", offset, "here")[0] == context.rindex("cat")


def test_lone_surrogates_do_not_stop_a_run(tmp_path):
    context = "x \\ud83d cat"
    data = {"id": 1, "question": "\\udc00?", "answers": [{"text": "\\ud83d cat", "answer_start": 2}]}
    made = json.dumps(tree({"context": context, "qas": [data]})).replace("\\\\u", "\\u").encode()
    (record,) = Squad(data=str(write(tmp_path / "dev.json", made).parent)).read("dev")
    assert record.texts == ("\ufffd?", "x \ufffd cat") and record.label == (2, 7)


def test_examples_of_tfds(monkeypatch):
    """The features of squad/v1.1 and squad/v2.0, as tfds.data_source gives them."""
    given = {
        "id": b"1",
        "title": b"t",
        "context": "Größe x".encode(),
        "question": b"q?",
        "answers": {"text": np.array(["Größe".encode()], object), "answer_start": np.array([0], np.int32)},
    }
    empty = {"text": np.array([], object), "answer_start": np.array([], np.int32)}
    impossible = {**given, "id": b"2", "is_impossible": np.True_, "answers": empty}

    class Examples(list):
        def __getitems__(self, numbers):
            return [self[i] for i in numbers]

    sets = {
        ("squad/v1.1", "train"): [given],
        ("squad/v2.0", "validation"): [{**given, "is_impossible": np.False_}, impossible],
    }
    monkeypatch.setattr(squad_files, "data_source", lambda name, split: (Examples(sets[name, split]), None))
    (record,) = Squad().read("train")
    assert record.texts == ("q?", "Größe x") and record.label == (0, 5)
    assert [record.label for record in Squad(version2=True).read("dev")] == [(0, 5), ()]
    assert Squad(data="tfds:squad/v1.1").read("train") == [record]
    with pytest.raises(UserError, match="has no test split"):
        Squad().read("test")


# --------------------------------------------------------------------------------------- bad input

GOOD = asked("q1", "who?", "x y z", "y")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not JSON: Expecting"),
        (b"\xff\xfe{}", "byte 0: not UTF-8"),
        ([], "no object with a list `data`"),
        ({"rows": []}, "data must be a list"),
        ({"data": []}, "no question in its dev split"),
        ({"data": [{"title": "t"}]}, r"data\[0\]: not SQuAD's JSON: paragraphs must be a list"),
        (tree({"qas": [GOOD]}), r"data\[1\]\.paragraphs\[0\]: not SQuAD's JSON: context must be a text"),
        (tree({"context": "x"}), "qas must be a list"),
        (tree({"context": "x", "qas": [{"question": "?"}]}), r"qas\[0\]: .* id must be a text or number"),
        (tree({"context": "x", "qas": [{"id": "q1"}]}), "question q1: .* question must be a text"),
        (
            tree({"context": "x", "qas": [{"id": "q1", "question": "?", "answers": [{"text": "x"}]}]}),
            "question q1: .* answer_start must be a number",
        ),
        (
            tree({"context": "x", "qas": [{"id": "q1", "question": "?", "answers": {"text": ["x"]}}]}),
            "question q1: .* answers must be a list",
        ),
        (tree({"context": "x z", "qas": [GOOD]}), "question q1: the answer 'y' is not in its context"),
        (tree({"context": " \n", "qas": [GOOD]}), "question q1: its context is empty"),
        (tree({"context": "x y", "qas": [{**GOOD, "question": " "}]}), "question q1: the question is empty"),
        (tree({"context": "x y", "qas": [asked("q1", "?", "x y", " ")]}), "question q1: an answer is empty"),
        (tree({"context": "x y", "qas": [GOOD, GOOD]}), "question q1: its id occurs twice"),
        (
            tree({"context": "x y", "qas": [{"id": "q1", "question": "?"}]}),
            "question q1: .* is this a test file",
        ),
        (
            tree({"context": "x y", "qas": [{**GOOD, "is_impossible": True}]}),
            "question q1: it has no answer, .* --set task.version2=true",
        ),
    ],
)
def test_bad_files_are_one_line_with_file_and_question(tmp_path, content, said):
    path = write(tmp_path / "dev.json", content)
    with pytest.raises(UserError, match=said) as caught:
        Squad(data=str(tmp_path)).read("dev")
    assert "\n" not in str(caught.value) and str(path.parent) in str(caught.value)


def test_a_test_file_is_no_training_file_but_can_be_predicted(tmp_path):
    bare = tree({"context": "x y", "qas": [{"id": "q1", "question": "?"}]})
    write(tmp_path / "train.json", bare)
    write(tmp_path / "test.json", bare)
    for version2 in (False, True):
        task = Squad(data=str(tmp_path), version2=version2, tuning=0.0)
        with pytest.raises(UserError, match=r"train.json: question q1: .* is this a test file"):
            task.read("train")
        assert task.read("test")[0].label is None


def test_settings_that_cannot_be(version2, tmp_path):
    with pytest.raises(UserError, match="no question in its tuning split"):
        Squad(data=version2, version2=True, tuning=0.0).read("tuning")
    with pytest.raises(UserError, match="no question in its train split"):
        Squad(data=version2, version2=True, tuning=1.0).read("train")
    with pytest.raises(UserError, match="1 or more"):
        Squad(data=version2, version2=True, max_tokens=0).read("dev")
    with pytest.raises(UserError, match="no such file or folder"):
        Squad(data=str(tmp_path / "nowhere")).read("train")
    with pytest.raises(UserError, match="found: none"):
        Squad(data=str(tmp_path)).read("train")


# ----------------------------------------------------------------------------------------- scoring


def predicted(task: Squad, split: str, seed: int, length: int = 40) -> Predicted:
    """Windows, and logits that know the answers only here and there."""
    plan = Windows(length=length, stride=9, question=12, outside=Outside.NULL)
    opened = plan.open(table(task.read(split)), 0, shuffle=False)
    rows = [opened[r] for r in range(opened.num_rows)]
    rng = np.random.default_rng(seed)
    outputs = {name: rng.normal(size=(len(rows), length)).astype("f4") for name in ("start", "end")}
    for r, row in enumerate(rows):
        for name, token in zip(("start", "end"), row.label or ()):
            outputs[name][r, row.fields["window"].first + token] += 3 * (rng.random() < 0.7)
        if not row.label:
            outputs["start"][r, 0] += rng.normal() + 2
    return Predicted(rows, outputs)


def reference(task: Squad, split: str, files: dict) -> tuple[float, float]:
    """(exact match, F1) of predictions.json by the definition, best over the gold answers."""
    points = []
    for record in task.read(split):
        said = normal(files["predictions"][record.fields["id"]])
        gold = [normal(text) for text in record.fields["answers"] if normal(text)] or [""]
        f1 = [overlap(said, g) if said and g else float(said == g) for g in gold]
        points.append((max(float(said == g) for g in gold), max(f1)))
    return tuple(np.mean(points, axis=0))


def test_scores_are_the_official_ones_of_the_files_written(version1, version2, tmp_path):
    for data, is_2 in ((version1, False), (version2, True)):
        task = Squad(data=data, version2=is_2, n_best=5, tuning=0.4)
        splits = {name: predicted(task, split, 3) for name, split in task.evaluations.items()}
        scores = task.score(splits, ())
        tuned = task.tuned(scores)
        paths = tuned.write("dev", splits["heldout"], (), tmp_path / data[-2:])
        files = {path.stem: json.loads(path.read_text()) for path in paths}
        exact, f1 = reference(task, "dev", files)
        assert 0.1 < f1 < 0.95
        assert scores["heldout/exact"] == pytest.approx(exact)
        assert scores["heldout/f1"] == pytest.approx(f1)
        assert set(files) == {"predictions", "nbest_predictions"} | ({"null_odds"} if is_2 else set())
        for number, said in files["predictions"].items():
            ranked = files["nbest_predictions"][number]
            texts = [entry["text"] for entry in ranked]
            assert len(set(texts)) == len(texts) == 5 + is_2 and said in texts
            assert sum(entry["probability"] for entry in ranked) == pytest.approx(1)
            best = next(entry["text"] for entry in ranked if entry["text"])
            silent = is_2 and files["null_odds"][number] > tuned.null_threshold
            assert said == ("" if silent else best)


def test_the_threshold_is_tuned_on_the_training_side_alone(version2):
    task = Squad(data=version2, version2=True, tuning=0.4)
    tuning, dev, other = predicted(task, "tuning", 1), predicted(task, "dev", 2), predicted(task, "dev", 5)
    both = task.score({"heldout": dev, "tuning": tuning}, ())
    threshold = both["tuning/null_threshold"]
    assert (
        threshold != 0
        and task.score({"heldout": other, "tuning": tuning}, ())["tuning/null_threshold"] == threshold
    )

    judged = list(task.judge(tuning, 1))

    def at(value: float) -> float:
        said = ["" if q.found.null_odds > value else q.text for q in judged]
        return np.mean([task.points(text, q.gold)[1] for text, q in zip(said, judged)])

    odds = [q.found.null_odds for q in judged]
    every = [at(value) for value in (*odds, min(odds) - 1, max(odds) + 1)]
    assert both["tuning/f1"] == pytest.approx(max(every)) == pytest.approx(at(threshold))
    assert max(every) > min(every)
    later = task.tuned(both)
    assert later.null_threshold == threshold and later.tuned({"tuning/null_threshold": 9.0}) == later
    assert later.score({"heldout": dev}, ()) == {k: v for k, v in both.items() if k.startswith("heldout/")}
    assert task.tuned({"heldout/f1": 0.5}) == task


def test_scores_are_never_nan_and_name_both_kinds_of_questions(version2):
    task = Squad(data=version2, version2=True, tuning=0.4)
    scores = task.score({"heldout": predicted(task, "dev", 2)}, ())
    assert set(scores) == {
        f"heldout/{n}" for n in ("exact", "f1", "constant", "has_answer_f1", "no_answer_f1")
    }
    mean = (2 * scores["heldout/has_answer_f1"] + scores["heldout/no_answer_f1"]) / 3
    assert scores["heldout/f1"] == pytest.approx(mean)
    assert all(math.isfinite(value) for value in scores.values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "vocab", "words", "exact_text", "right"),
    [
        ("dev-v1.1.json.gz", 8192, AnswerWords.SPACES, 0.92, 0.98),
        ("xquad.zh.json.gz", 6000, AnswerWords.CHARACTERS, 0.93, 0.95),
    ],
)
def test_gold_answers_come_back_from_token_spans(
    shared_data, tmp_path, name, vocab, words, exact_text, right
):
    """sentencepiece's BPE joins a mark, and in Chinese whole phrases, to a word: such answers come back
    with their neighbours.  The shares are printed (pytest -s)."""
    from ssl_jax.data import Table
    from ssl_jax.text import SentencePiece, Text, load

    task = Squad(data=str(shared_data / "squad" / name), dev_share=1.0, words=words)
    records = task.read("dev")
    SentencePiece(vocab_size=vocab).train([r.texts[1] for r in records], tmp_path / "tokenizer")
    plan = Windows().open(Table(records, load(tmp_path / "tokenizer"), Text()), 0, shuffle=False)
    texts = {}
    for row in (plan[r] for r in range(plan.num_rows)):
        if row.label != ELSEWHERE:
            window, (first, last) = row.fields["window"], row.label
            texts[window.record] = window.context[window.begins[first] : window.ends[last]]
    assert len(texts) == len(records), "an answer is in no window"
    golds = [record.texts[1][slice(*record.label)] for record in records]
    assert all(gold.strip() in texts[i] for i, gold in enumerate(golds))
    same = np.mean([texts[i] == gold for i, gold in enumerate(golds)])
    matches = np.mean([words.of(texts[i]) == words.of(gold) for i, gold in enumerate(golds)])
    print(f"{name}: {same:.4f} of the texts, {matches:.4f} by exact match")
    assert same > exact_text and matches > right
