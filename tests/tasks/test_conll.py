# SPDX-License-Identifier: Apache-2.0
"""CoNLL files and TFDS builders to sentences; scores, prediction files; what can't be read, in one line."""

import gzip
import lzma

import numpy as np
import pytest

from ssl_jax.data import Table, Tagged
from ssl_jax.tasks.base import Predicted
from ssl_jax.tasks.conll import Conll, TagMetric
from ssl_jax.tasks.tagged import Columns, Features
from ssl_jax.text import Text
from ssl_jax.types import UserError
from tests.tasks import letters

CONLL_2003 = """-DOCSTART- -X- O O

EU NNP I-NP I-ORG
# # I-NP O
call NN I-NP O\r

-DOCSTART- -X- O O

Peter NNP I-NP I-PER

"""
CONLLU = """# sent_id = 1
# text = vámonos al mar
1-2\tvámonos\t_\t_\t_
1\tvamos\tir\tVERB\tv
2\tnos\tnosotros\tPRON\tp
2.1\tgo\tgo\tVERB\tv
3-4\tal\t_\t_\t_
3\ta\ta\tADP\ts
4\tel\tel\tDET\td
5\t10 000\tmar\tNOUN\tn

# sent_id = 2
1\t#\t#\tSYM\tf
"""
POS = dict(by=TagMetric.WORDS, columns=Columns(word=1, tag=3, number=0, comment="#"))


def read(records):
    return [[(r.texts[0][a:b], tag) for (a, b), tag in zip(r.fields["spans"], r.label)] for r in records]


def one(tmp_path, content, split="train", **task):
    """What a task reads of one file."""
    data = content.encode() if isinstance(content, str) else content
    (tmp_path / f"{split}.txt").write_bytes(data)
    return Conll(data=str(tmp_path), **task).read(split)


def test_the_columns_of_2003(tmp_path):
    first, second = one(tmp_path, CONLL_2003)
    assert read([first, second]) == [[("EU", "I-ORG"), ("#", "O"), ("call", "O")], [("Peter", "I-PER")]]
    assert (
        first.texts == ("EU # call",)
        and first.fields["lines"] == (3, 4, 5)
        and second.fields["lines"] == (9,)
    )
    (chunk, *_), _ = read(one(tmp_path, CONLL_2003, by=TagMetric.WORDS, columns=Columns(tag=1)))
    assert chunk == ("EU", "NNP")


def test_conllu_with_its_comments_contractions_and_words_that_were_left_out(tmp_path):
    first, second = one(tmp_path, CONLLU, **POS)
    words = [("vamos", "VERB"), ("nos", "PRON"), ("a", "ADP"), ("el", "DET"), ("10 000", "NOUN")]
    assert read([first, second]) == [words, [("#", "SYM")]]
    assert Conll(**POS).labels([first, second]) == ("ADP", "DET", "NOUN", "PRON", "SYM", "VERB")
    assert Conll(**POS, names=("X", "Y")).labels([first]) == ("X", "Y")


def test_a_word_keeps_every_character_but_the_files_own_white_space(tmp_path):
    words = ["a\u00a0b", "\u3000", "c\u2028d", "e\u0085", "\ufeff"]
    (record,) = one(tmp_path, "\ufeff" + "".join(f"{word}  O\n" for word in words), separator="")
    assert [word for word, _ in read([record])[0]] == words and record.texts == ("".join(words),)


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, None], ids=["gz", "xz", "zst"])
@pytest.mark.parametrize(
    "names", [("eng.train", "eng.testa", "eng.testb"), ("a-train.conllu", "dev", "test.txt")]
)
def test_splits_are_found_by_the_usual_names(tmp_path, pack, names):
    if pack is None:
        pack = pytest.importorskip("zstandard").ZstdCompressor().compress
    ending = {gzip.compress: ".gz", lzma.compress: ".xz"}.get(pack, ".zst")
    for name in names:
        (tmp_path / f"{name}{ending}").write_bytes(pack(f"{name} O\n".encode()))
    task = Conll(data=str(tmp_path))
    assert [task.read(split)[0].texts[0] for split in ("train", "dev", "test")] == list(names)


@pytest.mark.parametrize(
    ("content", "task", "said"),
    [
        ("", {}, "train.txt: it holds no sentence"),
        ("\n\n-DOCSTART- O\n", {}, "train.txt: it holds no sentence"),
        ("a O\nb O\n\nc\n", {}, "train.txt: row 4: it has 1 columns, and the rows before have 2"),
        ("a\nb\n", {}, "train.txt: row 1: it has no tag; task.columns.tag says which"),
        ("a O\n", {"columns": Columns(tag=3)}, "train.txt: row 1: it has no tag"),
        (
            "a O\n",
            {"columns": Columns(word=2)},
            "row 1: too few columns: task.columns.word=2 names none of its 2",
        ),
        ("a\tO\nb\t\n", {}, "train.txt: row 2: the column of the tag is empty"),
        ("a\tO\n\tO\n", {}, "train.txt: row 2: the column of the word is empty"),
        ("a O\nb NNP\n", {}, "train.txt: row 2: the tag 'NNP' is neither O nor B-X"),
        (b"a O\nb\xe9 O\n", {}, "train.txt: row 2: not UTF-8"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_file_and_row(tmp_path, content, task, said):
    with pytest.raises(UserError) as error:
        one(tmp_path, content, **task)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_only_a_test_file_may_lack_tags(tmp_path):
    (record,) = one(tmp_path, "a\nb\n", split="test")
    assert record.label is None and record.texts == ("a b",)
    with pytest.raises(UserError, match="only test may lack it"):
        one(tmp_path, "a\nb\n", split="dev")


def test_folders_that_do_not_say_which_file_is_meant(tmp_path):
    for name in ("train.txt", "old.train.txt", "notes.md"):
        (tmp_path / name).write_text("a O\n")
    with pytest.raises(
        UserError, match=r"old\.train\.txt, train\.txt all look like it; --set task\.train=NAME"
    ):
        Conll(data=str(tmp_path)).read("train")
    assert Conll(data=str(tmp_path), train=("train.txt",)).read("train")
    with pytest.raises(UserError, match="which file is dev\\? there is none"):
        Conll(data=str(tmp_path)).read("dev")
    with pytest.raises(UserError, match="no such folder"):
        Conll(data=str(tmp_path / "nowhere")).read("dev")
    with pytest.raises(UserError, match="--data names a folder"):
        Conll().read("train")
    with pytest.raises(UserError, match="no split validation"):
        Conll(data=str(tmp_path)).read("validation")


# ---------------------------------------------------------------------------------- scores and files

LABELS = ("B-LOC", "B-PER", "I-LOC", "I-PER", "O")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return letters.tokenizer(tmp_path_factory.mktemp("letters"))


def predicted(tokenizer, records, says):
    """Predicted, where the model says `says[i]` of sentence i's words, and something else between them."""
    plan = Tagged(length=8).open(Table(records, tokenizer, Text()), 0, shuffle=False)
    rows, outputs, said = [plan[r] for r in range(plan.num_rows)], [], [list(one) for one in says]
    for row in rows:
        output = np.full(8, LABELS.index("I-PER"), np.int32)
        for at in row.fields["first"]:
            label = said[row.fields["sentence"]].pop(0)
            if at >= 0:
                output[1 + at] = LABELS.index(label)
        outputs.append(output)
    assert not any(said)
    return Predicted(rows, {"labels": np.stack(outputs)})


def test_scores_of_sentences_that_have_several_rows_and_words_without_a_token(tmp_path, tokenizer):
    metrics = pytest.importorskip("seqeval.metrics")
    gold = [["B-PER", "I-PER", "O", "B-LOC", "O", "O"], ["B-LOC", "B-PER"]]
    words = [["abcd", "defg", "\u200b", "ab", "cdefghi", "i"], ["a", "\u200b"]]
    content = "\n".join("".join(f"{w} {t}\n" for w, t in zip(*each)) for each in zip(words, gold))
    records = one(tmp_path, content, split="dev")
    says = [["B-PER", "I-PER", "B-LOC", "B-LOC", "O", "B-PER"], ["B-LOC", "B-PER"]]
    found = predicted(tokenizer, records, says)
    assert len(found.rows) > 3
    heard = [["B-PER", "I-PER", "O", "B-LOC", "O", "B-PER"], ["B-LOC", "O"]]  # what has no token is outside
    expected = {
        "dev/constant": 0.0,
        "dev/accuracy": metrics.accuracy_score(gold, heard),
        "dev/precision": metrics.precision_score(gold, heard),
        "dev/recall": metrics.recall_score(gold, heard),
        "dev/f1": metrics.f1_score(gold, heard),
    }
    assert Conll().score({"dev": found}, LABELS) == pytest.approx(expected, abs=1e-12)
    assert Conll().metric == "heldout/f1" and "dev" + Conll().metric[7:] in expected
    words_alone = Conll(by=TagMetric.WORDS).score({"dev": found}, LABELS)
    assert (
        words_alone == {"dev/accuracy": 5 / 8, "dev/constant": 0.0}
        and Conll(by=TagMetric.WORDS).metric == "heldout/accuracy"
    )


def test_prediction_files_are_what_conlleval_reads(tmp_path, tokenizer):
    records = one(tmp_path, "ab B-PER\n\u200b O\ncd O\n\ne O\n", split="test")
    says = [["B-PER", "O", "B-LOC"], ["O"]]
    (path,) = Conll().write("test", predicted(tokenizer, records, says), LABELS, tmp_path)
    assert path == tmp_path / "test_predictions.conll"
    assert path.read_text() == "ab B-PER B-PER\n\u200b O O\ncd O B-LOC\n\ne O O\n\n"
    records = one(tmp_path, "ab\ncd\n", split="test")
    (path,) = Conll().write("test", predicted(tokenizer, records, [["O", "B-LOC"]]), LABELS, tmp_path)
    assert path.read_text() == "ab O\ncd B-LOC\n\n"


def test_scores_that_are_not_defined_are_refused(tmp_path, tokenizer):
    unlabelled = predicted(tokenizer, one(tmp_path, "ab\n", split="test"), [["O"]])
    with pytest.raises(UserError, match="test: without tags nothing can be measured"):
        Conll().score({"test": unlabelled}, LABELS)
    outside = predicted(tokenizer, one(tmp_path, "ab O\n", split="dev"), [["O"]])
    with pytest.raises(UserError, match="dev: no entity in it, so that F1 is not defined"):
        Conll().score({"dev": outside}, LABELS)


# ---------------------------------------------------------------------------------------------- TFDS


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """The set tiny_tags as conll2003 has it, known by its files alone."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyTags(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            tags = tfds.features.Sequence(tfds.features.ClassLabel(names=["O", "B-PER", "B-LOC"]))
            features = {"tokens": tfds.features.Sequence(tfds.features.Text()), "ner": tags}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            known = {0: {"tokens": ["Ann", "às", "苹"], "ner": [1, 0, 2]}, 1: {"tokens": [], "ner": []}}
            return {
                "train": iter(known.items()),
                "validation": iter({0: {"tokens": ["b"], "ner": [0]}}.items()),
                "test": iter({0: {"tokens": ["c"], "ner": [-1]}}.items()),
            }

        def _generate_examples(self):
            raise NotImplementedError

    folder = str(tmp_path_factory.mktemp("tfds"))
    TinyTags(data_dir=folder, file_format="array_record").download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("tiny_tags")
    return folder


def test_sentences_of_a_tfds_builder(builder, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", builder)
    task = Conll(builder=Features(name="tiny_tags", dev="validation"))
    assert read(task.read("train")) == [[("Ann", "B-PER"), ("às", "O"), ("苹", "B-LOC")]]
    assert read(task.read("dev")) == [[("b", "O")]]
    assert task.read("test")[0].label is None
    with pytest.raises(UserError, match=r"no feature 'pos'; it has: ner, tokens"):
        Conll(builder=Features(name="tiny_tags", tags="pos")).read("train")
