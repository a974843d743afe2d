# SPDX-License-Identifier: Apache-2.0
"""GLUE's nine tasks and AX: the files as distributed, TFDS, the real data, and what the leaderboard wants."""

import gzip
import zipfile

import numpy as np
import pytest

from ssl_jax.tasks.base import Predicted
from ssl_jax.tasks.glue import FACTS, Glue, GlueTask
from ssl_jax.types import Row, UserError
from tests.tasks import tables
from tests.tasks.tables import ODD

SPLITS = {task: ("train", "dev", "test") for task in GlueTask} | {
    GlueTask.MNLI: ("train", "dev_matched", "dev_mismatched", "test_matched", "test_mismatched", "ax")
}
by_name = pytest.mark.parametrize("task", GlueTask, ids=lambda task: task.value)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tables.official(tmp_path_factory.mktemp("glue_data"))


@pytest.fixture(scope="module")
def tfds_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    for config in [task.name.lower() for task in GlueTask if task is not GlueTask.MRPC] + ["ax"]:
        tables.prepared(folder, config)
    return folder


def glue(task, data=None):
    return Glue(task=task, data=None if data is None else str(data))


def read(task, data, split):
    return [(r.fields["row"], r.texts, r.label) for r in glue(task, data).read(split)]


# ------------------------------------------------------------------------------------------ reading


EXPECTED = {  # (the number of texts, the labels of train in the files' order)
    GlueTask.COLA: (1, ["acceptable", "unacceptable"]),
    GlueTask.SST2: (1, ["positive", "negative"]),
    GlueTask.MRPC: (2, ["equivalent", "not_equivalent"]),
    GlueTask.QQP: (2, ["not_duplicate", "duplicate", "not_duplicate"]),
    GlueTask.STSB: (2, [5.0, 3.8]),
    GlueTask.MNLI: (2, ["neutral", "contradiction", "entailment"]),
    GlueTask.QNLI: (2, ["entailment", "not_entailment"]),
    GlueTask.RTE: (2, ["not_entailment", "entailment"]),
    GlueTask.WNLI: (2, ["entailment", "not_entailment"]),
}


@by_name
def test_files_as_distributed_from_the_tasks_folder_or_the_one_above(task, folder):
    for split in SPLITS[task]:
        rows = read(task, folder, split)
        assert rows == read(task, folder / task.value, split)
        width, labels = EXPECTED[task]
        known = [label for _, _, label in rows]
        assert all(len(texts) == width for _, texts, _ in rows)
        if split == "train":
            assert known == labels
        elif split.startswith("dev"):
            assert known == labels[: len(known)]
        else:
            assert set(known) == {None} and [row for row, _, _ in rows] == list(map(str, range(len(rows))))
        assert any(text == ODD for _, texts, _ in rows for text in texts)


@by_name
def test_tfds_gives_what_the_files_give(task, folder, tfds_folder, monkeypatch):
    if task is GlueTask.MRPC:
        pytest.skip("TFDS makes it from three downloads of another layout")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tfds_folder))
    for split in SPLITS[task]:
        from_files, from_tfds = read(task, folder, split), read(task, None, split)
        if task in (GlueTask.COLA, GlueTask.SST2, GlueTask.QQP) or split == "ax":  # numbered by their order
            from_files = [(str(i), *row[1:]) for i, row in enumerate(from_files)]
        if task is GlueTask.QQP and split == "train":  # which counts the torn rows, too
            from_files[2] = ("4", *from_files[2][1:])
        assert sorted(from_tfds) == sorted(from_files)


@by_name
def test_labels_are_in_tfdss_order(task):
    import tensorflow_datasets as tfds
    import tensorflow_datasets.text

    classes = tfds.builder(task.builder).builder_config.label_classes
    assert FACTS[task].classes == tuple(classes or ())
    assert glue(task).labels([]) == tuple(classes or ())


def test_mrpc_as_its_authors_distribute_it(tmp_path):
    tables.microsoft(tmp_path)
    pairs = {
        split: [row[1] for row in read(GlueTask.MRPC, tmp_path, split)] for split in ("train", "dev", "test")
    }
    assert pairs["dev"] == [("a1", "b1"), ("a4", "b4")]
    assert pairs["train"] == [(f"a{i}", f"b{i}") for i in (0, 2, 3, 5)]
    assert pairs["test"] == [("t", "u"), ("v", "w")]
    (tmp_path / "dev_ids.tsv").unlink()
    with pytest.raises(UserError, match=r"has no dev_ids\.tsv"):
        read(GlueTask.MRPC, tmp_path, "train")


def test_the_diagnostic_set_with_labels(tmp_path, folder):
    names = ["Lexical Semantics", "Domain", "Premise", "Hypothesis", "Label"]
    tables.write(tmp_path / "AX" / "diagnostic-full.tsv", names, ["", "News", "a", "b", "contradiction"])
    assert read(GlueTask.MNLI, tmp_path, "ax") == [("0", ("a", "b"), "contradiction")]
    assert read(GlueTask.MNLI, folder, "ax") == [("0", ("a", "b"), None), ("1", ("c", ODD), None)]


def test_a_header_of_ones_own_and_compression(tmp_path):
    text = "idx\tsentence1\tsentence2\tlabel\n7\ta\tb\tentailment\n9\tc\td\t1\n"
    path = tmp_path / "RTE" / "dev.tsv.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(text.encode()))
    assert read(GlueTask.RTE, tmp_path, "dev") == [
        ("7", ("a", "b"), "entailment"),
        ("9", ("c", "d"), "not_entailment"),
    ]


@pytest.mark.parametrize(
    ("task", "counts"),
    [
        (GlueTask.COLA, (8551, 1043, 1063)),
        (GlueTask.SST2, (67349, 872, 1821)),
        (GlueTask.STSB, (5749, 1500)),
        (GlueTask.RTE, (2490, 277, 3000)),
    ],
    ids=lambda value: getattr(value, "value", None),
)
def test_the_real_files(shared_data, task, counts):
    records = {split: glue(task, shared_data / "glue").read(split) for split in SPLITS[task][: len(counts)]}
    assert tuple(map(len, records.values())) == counts
    assert [r.fields["row"] for r in records["dev"]] == list(map(str, range(counts[1])))
    labels = [r.label for r in records["dev"]]
    if task is GlueTask.STSB:
        assert min(labels) == 0.0 and max(labels) == 5.0
    else:
        # Majorities that are known: CoLA 69.1 %, SST-2 50.9 %, RTE 52.7 %.
        name, share = {
            GlueTask.COLA: ("acceptable", 0.691),
            GlueTask.SST2: ("positive", 0.509),
            GlueTask.RTE: ("entailment", 0.527),
        }[task]
        assert labels.count(name) / len(labels) == pytest.approx(share, abs=5e-4)


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            ["sentence\tlabel", "good\tpositiv"],
            "line 2: column label: there is no label 'positiv'; the labels are neg",
        ),
        (["sentence\tlabel", "good\t1", "bad\t2"], "line 3: column label: there is no label '2'"),
        (["sentence\tlabel", "good\t1", " \t0"], "line 3: column sentence is empty"),
        (["sentence\tlabel", "good\t1", "bad\t"], "line 3: column label is empty"),
        (["sentence\tlabel", "good\t1", "bad"], "line 3: 1 columns, the first line has 2"),
        (["sentence\tlabel", "good\t1\t1"], "line 2: 3 columns"),
        (["text\tlabel", "good\t1"], "has no column sentence; it has: text, label"),
        (["index\tsentence", "0\tgood"], "has no column label; it has: index, sentence"),
        (["sentence\tlabel", "good\t1", "better\t1"], "line 2: all 2 labels from here on are positive"),
        (["sentence\tlabel"], "holds no example"),
        ([], "the file is empty"),
        (["sentence\tlabel", "caf\udce9\t1"], "line 2: not UTF-8 (byte 0xe9)"),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_mistakes_are_named_with_file_and_line(tmp_path, split, rows, said):
    path = tmp_path / f"{split}.tsv"
    path.write_bytes("".join(row + "\n" for row in rows).encode(errors="surrogateescape"))
    with pytest.raises(UserError) as error:
        glue(GlueTask.SST2, tmp_path).read(split)
    assert str(error.value).startswith(str(path)) and said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("score", ["5.01", "-1", "nan", "five"])
def test_a_score_out_of_range(tmp_path, score):
    tables.write(tmp_path / "dev.tsv", ["sentence1", "sentence2", "score"], ["a", "b", score])
    with pytest.raises(UserError, match=f"line 2: column score: '{score}' is no number from 0 to 5"):
        glue(GlueTask.STSB, tmp_path).read("dev")


def test_what_is_not_there(tmp_path, folder):
    with pytest.raises(UserError, match=f"there is no folder {tmp_path}/no"):
        glue(GlueTask.RTE, tmp_path / "no").read("dev")
    tables.write(tmp_path / "train.tsv", ["a"])
    with pytest.raises(UserError, match=r"has no dev.tsv of RTE; it has: train.tsv"):
        glue(GlueTask.RTE, tmp_path).read("dev")
    with pytest.raises(UserError, match="RTE has no split 'validation'; it has: train, dev, test"):
        glue(GlueTask.RTE, folder).read("validation")
    with pytest.raises(
        UserError, match="MNLI has no split 'dev'; it has: train, dev_matched, dev_mismatched"
    ):
        glue(GlueTask.MNLI, folder).read("dev")
    with pytest.raises(UserError, match=r"has no diagnostic\.tsv"):
        glue(GlueTask.MNLI, tmp_path).read("ax")


# ------------------------------------------------------------------------- metrics and predictions


def predicted(logits, labels):
    rows = [Row(i, (), label, {"row": str(i)}) for i, label in enumerate(labels)]
    return Predicted(rows, {"logits": np.array(logits, np.float32)})


def one_hot(names, said):
    return np.array([[float(name == other) for other in names] for name in said])


@by_name
def test_every_metric_of_a_task_is_one_of_score(task):
    one, names = glue(task), FACTS[task].classes
    labels = [names[i % len(names)] for i in range(7)] if names else np.arange(7) / 2
    logits = one_hot(names, labels) if names else labels[:, None]
    scores = one.score({name: predicted(logits, labels) for name in one.evaluations}, names)
    assert {name: scores.pop(f"{name}/constant") for name in one.evaluations} == dict.fromkeys(
        one.evaluations, 0
    )
    assert tuple(scores) == one.metrics and one.metric == one.metrics[0]
    assert all(value == pytest.approx(1.0) for value in scores.values())


def test_metrics_are_those_of_the_benchmark():
    assert glue(GlueTask.COLA).metrics == ("heldout/matthews",)
    assert glue(GlueTask.QQP).metrics == ("heldout/accuracy", "heldout/f1")
    assert glue(GlueTask.STSB).metrics == ("heldout/pearson", "heldout/spearman")
    assert glue(GlueTask.MNLI).metrics == ("heldout/accuracy", "mismatched/accuracy")
    assert [task.value for task in GlueTask if task.helped_by_mnli] == ["MRPC", "STS-B", "RTE"]


def test_f1_is_of_the_duplicates_and_ax_is_judged_by_matthews():
    names = FACTS[GlueTask.QQP].classes
    said = ["duplicate", "duplicate", "not_duplicate"]
    one = predicted(one_hot(names, said), ["duplicate", "not_duplicate", "not_duplicate"])
    assert glue(GlueTask.QQP).score({"heldout": one}, names)["heldout/f1"] == pytest.approx(2 / 3)
    names = FACTS[GlueTask.MNLI].classes
    one = predicted(one_hot(names, ["neutral"] * 2), ["neutral", "entailment"])
    assert glue(GlueTask.MNLI).score({"ax": one}, names) == {"ax/constant": 1.0, "ax/matthews": 0.0}


def test_no_metric_is_silently_nan():
    names, one = FACTS[GlueTask.COLA].classes, glue(GlueTask.COLA)
    with pytest.raises(UserError, match="heldout: all 2 labels are acceptable, so their Matthews"):
        one.score({"heldout": predicted(np.eye(2), ["acceptable"] * 2)}, names)
    with pytest.raises(Exception, match="not finite"):
        one.score({"heldout": predicted([[np.nan, 1.0]], ["acceptable"])}, names)
    assert glue(GlueTask.STSB).score({"heldout": predicted([[2.0]] * 3, [1.0, 2.0, 3.0])}, ()) == {
        "heldout/constant": 1.0,
        "heldout/pearson": 0.0,
        "heldout/spearman": 0.0,
    }


SITE = {  # file -> how its first two predictions are spelled, of the classes 1 and 0
    (GlueTask.COLA, "test"): ("CoLA.tsv", "1", "0"),
    (GlueTask.SST2, "test"): ("SST-2.tsv", "1", "0"),
    (GlueTask.MRPC, "test"): ("MRPC.tsv", "1", "0"),
    (GlueTask.QQP, "test"): ("QQP.tsv", "1", "0"),
    (GlueTask.STSB, "test"): ("STS-B.tsv", "5.000", "1.235"),
    (GlueTask.MNLI, "test_matched"): ("MNLI-m.tsv", "neutral", "entailment"),
    (GlueTask.MNLI, "test_mismatched"): ("MNLI-mm.tsv", "neutral", "entailment"),
    (GlueTask.MNLI, "ax"): ("AX.tsv", "neutral", "entailment"),
    (GlueTask.QNLI, "test"): ("QNLI.tsv", "not_entailment", "entailment"),
    (GlueTask.RTE, "test"): ("RTE.tsv", "not_entailment", "entailment"),
    (GlueTask.WNLI, "test"): ("WNLI.tsv", "1", "0"),
}


def test_the_leaderboards_files(tmp_path):
    for (task, split), (file, one, zero) in SITE.items():
        names = FACTS[task].classes
        logits = np.eye(len(names))[[0, 1]] if names else np.array([[1.2346], [7.0]])
        rows = [
            Row(0, (), None, {"row": "10"}),
            Row(1, (), None, {"row": "9"}),
        ]  # TFDS's order isn't the files'
        assert glue(task).write(split, Predicted(rows, {"logits": logits}), names, tmp_path) == [
            tmp_path / file,
            tmp_path / "submission.zip",
        ]
        assert (tmp_path / file).read_text() == f"index\tprediction\n9\t{one}\n10\t{zero}\n"
    with zipfile.ZipFile(tmp_path / "submission.zip") as archive:
        assert sorted(archive.namelist()) == sorted(file for file, _, _ in SITE.values())
    assert glue(GlueTask.RTE).write("dev", predicted(np.eye(2), [None] * 2), ("a", "b"), tmp_path) == [
        tmp_path / "RTE.dev.tsv"
    ]


def test_evaluate_reads_mnlis_test_in_two_parts():
    assert glue(GlueTask.MNLI).splits("test") == {"matched": "test_matched", "mismatched": "test_mismatched"}
    assert glue(GlueTask.MNLI).splits("dev") == {"heldout": "dev_matched", "mismatched": "dev_mismatched"}
    assert glue(GlueTask.MNLI).splits("ax") == {"ax": "ax"}
    assert glue(GlueTask.RTE).splits("test") == {"test": "test"}
