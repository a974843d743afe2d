# SPDX-License-Identifier: Apache-2.0
"""One's own tables: formats, splits, labels, metrics, and mistakes by file and line."""

import csv
import gzip
import json
import lzma

import numpy as np
import pytest

from ssl_jax.tasks.base import Predicted
from ssl_jax.tasks.columns import Columns
from ssl_jax.tasks.corpus import check_labels
from ssl_jax.tasks.metrics import Measure
from ssl_jax.types import Row, UserError

ROWS = [
    ("so good", "film", "pos"),
    ('quotes "inside", commas,\ttabs', "film", "neg"),
    ("two\nlines 苹果", "book", "pos"),
    ("plain", "book", "neg"),
]
NAMES = ("text", "target", "label")
PAIR = dict(text="target", second="text")


def save(path, rows=ROWS, names=NAMES):
    """The rows in the format that the file's name says."""
    kind = path.name.partition(".")[2]
    if kind.startswith("jsonl"):
        text = "".join(json.dumps(dict(zip(names, row))) + "\n" for row in rows)
    elif kind.startswith("csv"):
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])
        return path
    else:
        text = "".join("\t".join(row) + "\n" for row in [names, *rows])
    pack = {"gz": gzip.compress, "xz": lzma.compress}.get(kind.rpartition(".")[2], lambda raw: raw)
    path.write_bytes(pack(text.encode()))
    return path


def columns(path, **kwargs):
    return Columns(data=str(path), **kwargs)


def content(records):
    return [(*record.texts, record.label) for record in records]


# ------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("name", ["train.csv", "train.jsonl", "train.jsonl.gz", "train.tsv", "train.tsv.xz"])
def test_every_format_gives_the_same_examples(tmp_path, name):
    rows = ROWS if "tsv" not in name else [(r[0].translate({9: 32, 10: 32}), *r[1:]) for r in ROWS]
    save(tmp_path / name, rows)
    wanted = [(target, text, label) for text, target, label in rows]
    assert content(columns(tmp_path, **PAIR).read("train")) == wanted
    assert content(columns(tmp_path).read("train")) == [(text, label) for text, _, label in rows]


def test_windows_line_ends_and_a_byte_order_mark(tmp_path):
    (tmp_path / "train.tsv").write_bytes("\ufefftext\tlabel\r\na\tx\r\nb\ty\r\n".encode())
    assert content(columns(tmp_path).read("train")) == [("a", "x"), ("b", "y")]


def test_json_numbers_and_booleans_are_labels_too(tmp_path):
    save(tmp_path / "train.jsonl", [("a", 1), ("b", True)], ("text", "label"))
    assert content(columns(tmp_path).read("train")) == [("a", "1"), ("b", "true")]


def test_splits_by_other_names_and_a_test_without_labels(tmp_path):
    save(tmp_path / "training.csv"), save(tmp_path / "valid.jsonl", ROWS[:2])
    save(tmp_path / "test.csv", [row[:2] for row in ROWS], NAMES[:2])
    task = columns(tmp_path, train_split="training", dev_split="valid")
    assert len(task.read("train")) == 4 and len(task.read("dev")) == 2
    assert [record.label for record in task.read("test")] == [None] * 4
    assert [record.fields["row"] for record in task.read("test")] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("one_file", [True, False])
def test_a_share_is_held_out_by_a_hash_and_copies_stay_together(tmp_path, one_file):
    rows = [(f"text {i}", "t", "pos" if i % 3 else "neg") for i in range(600)]
    rows += [(text.upper(), *rest) for text, *rest in rows[:200]]
    path = save(tmp_path / "train.tsv", rows)
    task = columns(path, heldout=0.2) if one_file else columns(tmp_path, heldout=0.2, dev_split=None)
    train, dev = task.read("train"), task.read("dev")
    assert sorted(content([*train, *dev])) == sorted((text, label) for text, _, label in rows)
    key = lambda records: {record.texts[0].lower() for record in records}
    assert not key(train) & key(dev)
    assert 0.15 < len(dev) / 800 < 0.25
    if one_file:
        assert len(task.read("all")) == 800
        # Another row doesn't move the others to the other side.
        save(path, [*rows, ("one more", "t", "pos")])
        assert set(content(dev)) <= set(content(task.read("dev")))


def test_tfds_by_name_split_and_features(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyReviews(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "review": tfds.features.Text(),
                "mood": tfds.features.ClassLabel(names=["sad", "glad"]),
                "stars": np.float32,
                "more": {"title": tfds.features.Text()},
            }
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(300), "test": self._generate_examples(5)}

        def _generate_examples(self, count):
            for i in range(count):
                mood = -1 if count == 5 else i % 2
                yield i, {"review": f"é {i}", "mood": mood, "stars": i / 10, "more": {"title": "x"}}

    TinyReviews(data_dir=str(tmp_path), file_format="array_record").download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("tiny_reviews")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    task = columns("tfds:tiny_reviews", text="review", label="mood", dev_split="train[:10%]")
    found = {record.texts[0]: record.label for record in task.read("train")}
    assert found == {f"é {i}": ("sad", "glad")[i % 2] for i in range(300)}
    assert len(task.read("dev")) == 30
    assert {record.label for record in task.read("test")} == {None}
    stars = columns("tfds:tiny_reviews", text="review", label="stars", measures=(Measure.PEARSON,))
    assert sorted(record.label for record in stars.read("test")) == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    with pytest.raises(UserError, match="has no split 'dev'; it has: test, train"):
        stars.read("dev")
    with pytest.raises(UserError, match=r"has no column text; it has: .*review"):
        columns("tfds:tiny_reviews").read("train")


# ------------------------------------------------------------------------------ labels and measures


def test_labels_are_found_sorted_or_named_by_the_recipe(tmp_path):
    save(tmp_path / "train.csv")
    found = columns(tmp_path).read("train")
    assert columns(tmp_path).labels(found) == ("neg", "pos")
    named = columns(tmp_path, label_names=("pos", "neg"))
    assert named.labels(named.read("train")) == ("pos", "neg")
    numbers = columns(tmp_path, measures=(Measure.SPEARMAN, Measure.MSE))
    assert numbers.regression and numbers.labels(found) == ()
    assert numbers.metrics == ("heldout/spearman",)  # those of which higher is better


def test_a_label_that_training_doesnt_have_is_named_with_its_line(tmp_path):
    save(tmp_path / "train.tsv", [("a", "t", "pos"), ("b", "t", "neg")])
    save(tmp_path / "dev.tsv", [("c", "t", "neg"), ("d", "t", "Pos")])
    task = columns(tmp_path)
    with pytest.raises(UserError, match=r"dev.tsv: line 3: there is no label 'Pos'; the labels are neg, pos"):
        check_labels(task.read("dev"), task.labels(task.read("train")))
    with pytest.raises(UserError, match=r"dev.tsv: line 3: column label: there is no label 'Pos'"):
        columns(tmp_path, label_names=("neg", "pos")).read("dev")


def predicted(labels, logits):
    rows = [Row(i, (), label, {"row": str(i)}) for i, label in enumerate(labels)]
    return Predicted(rows, {"logits": np.array(logits, np.float32)})


def test_measures_and_which_of_them_picks_the_checkpoint():
    names = ("against", "favor", "none")
    one = predicted(["against", "favor", "none", "none"], np.eye(3)[[0, 1, 1, 2]])
    task = Columns(measures=(Measure.MACRO_F1, Measure.ACCURACY, Measure.F1), positive_class="favor")
    assert task.metric == "heldout/macro_f1"
    assert task.score({"heldout": one}, names) == {
        "heldout/constant": 0.0,
        "heldout/macro_f1": pytest.approx((1 + 2 / 3 + 2 / 3) / 3),
        "heldout/accuracy": 0.75,
        "heldout/f1": pytest.approx(2 / 3),
    }
    with pytest.raises(UserError, match="positive_class: say of which class"):
        Columns(measures=(Measure.F1,)).score({"heldout": one}, names)
    with pytest.raises(UserError, match="positive_class=pro is none of the labels against, favor, none"):
        Columns(measures=(Measure.F1,), positive_class="pro").score({"heldout": one}, names)


def test_recipes_that_make_no_sense():
    with pytest.raises(UserError, match="all of classes or all of numbers"):
        Columns(measures=(Measure.ACCURACY, Measure.MSE))
    with pytest.raises(UserError, match="take one or more"):
        Columns(measures=())
    with pytest.raises(UserError, match="lower is better of mse"):
        Columns(measures=(Measure.MSE, Measure.PEARSON))
    with pytest.raises(UserError, match=r"task.heldout=1.0"):
        Columns(heldout=1.0)


def test_predictions_with_their_probabilities(tmp_path):
    names = ("neg", "pos")
    (file,) = Columns().write("test", predicted([None] * 2, [[0.0, np.log(3)], [1.0, 1.0]]), names, tmp_path)
    assert file.name == "test.predictions.tsv"
    assert file.read_text().splitlines() == [
        "row\tprediction\tprobability_neg\tprobability_pos",
        "0\tpos\t0.25\t0.75",
        "1\tneg\t0.5\t0.5",
    ]
    numbers = Columns(measures=(Measure.PEARSON,))
    (file,) = numbers.write("test", predicted([None], [[2.5]]), (), tmp_path)
    assert file.read_text() == "row\tprediction\n0\t2.5\n"


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("train.csv", 'text,label\n"open,pos\n', "line 2: unexpected end of data"),
        ("train.csv", "text,label\na,pos\nb,neg,more\n", "line 3: 3 columns, the first line has 2"),
        ("train.csv", "text;label\na;pos\n", "has no column text; it has: text;label"),
        ("train.jsonl", '{"text": "a", "label": "pos"}\n{"text": \n', "line 2: not JSON"),
        ("train.jsonl", '{"text": "a", "label": "pos"}\n[1]\n', "line 2: not an object, but list"),
        ("train.jsonl", '{"text": "a", "label": "x"}\n{"label": "y"}\n', "line 2: column text is empty"),
        ("train.jsonl", '{"text": "a", "label": "x"}\n{"text": "b"}\n', "line 2: the label is missing"),
        ("train.tsv", "text\n a\n", "has no column label; it has: text"),
        ("train.tsv", "\n\n", "the file is empty"),
    ],
)
def test_mistakes_are_named_with_file_and_line(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError) as error:
        columns(tmp_path).read("train")
    assert str(error.value).startswith(f"{tmp_path / name}") and said in str(error.value)


@pytest.mark.parametrize("cell", ["high", "nan", "inf"])
def test_a_number_that_is_none(tmp_path, cell):
    save(tmp_path / "train.tsv", [("a", "t", "1.5"), ("b", "t", cell)])
    with pytest.raises(UserError, match=f"line 3: column label: '{cell}' is no number"):
        columns(tmp_path, measures=(Measure.PEARSON,)).read("train")


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match="this task has no data: say --data PATH"):
        Columns().read("train")
    with pytest.raises(UserError, match="there is no folder"):
        columns(tmp_path / "no").read("train")
    save(tmp_path / "train.csv"), save(tmp_path / "valid.csv")
    with pytest.raises(UserError, match=r"has no split 'dev'; it has: train, valid; task.dev_split=none"):
        columns(tmp_path).read("dev")
    with pytest.raises(
        UserError, match=r"train.csv is one file and has no split 'test'; it has: train, dev, all"
    ):
        columns(tmp_path / "train.csv").read("test")


def test_a_share_with_one_class_or_one_text(tmp_path):
    rows = [(f"text {i}", "t", "pos") for i in range(50)] + [("last", "t", "neg")]
    with pytest.raises(UserError, match="all labels of the held-out share are pos"):
        columns(save(tmp_path / "one.tsv", rows)).read("dev")
    with pytest.raises(UserError, match="holds one text alone"):
        columns(save(tmp_path / "one.tsv", [("a", "t", "x"), ("A", "t", "y")])).read("dev")
