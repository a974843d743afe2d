# SPDX-License-Identifier: Apache-2.0
"""TFDS sets by random access, from a tiny set made here; preparing others, without TensorFlow or network."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pytest

from ssl_jax.data import Data, Tfds, prepare
from ssl_jax.data.sources import open_sources
from ssl_jax.data.tfds import data_source
from ssl_jax.data.tfds_prepare import Offline, explain
from ssl_jax.types import Failure, UserError


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """The set tiny_letters, configs en and de, as ArrayRecord; known by its files alone."""
    tfds = pytest.importorskip("tensorflow_datasets")

    class TinyLetters(tfds.core.GeneratorBasedBuilder):
        VERSION = tfds.core.Version("1.0.0")
        BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=name) for name in ("en", "de"))

        def _info(self):
            text = tfds.features.Text()
            features = {"text": text, "label": np.int64, "head": {"title": text}}
            return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

        def _split_generators(self, manager):
            return {"train": self._generate_examples(40), "test": self._generate_examples(5)}

        def _generate_examples(self, count):
            for i in range(count):
                name = self.builder_config.name
                yield i, {"text": f"letter {i} {name} é. yours", "label": i, "head": {"title": f"no {i}"}}

    folder = str(tmp_path_factory.mktemp("tfds"))
    for config in ("en", "de"):
        builder = TinyLetters(data_dir=folder, config=config, file_format="array_record")
        builder.download_and_prepare()
    tfds.core.registered._DATASET_REGISTRY.pop("tiny_letters")
    return folder


def texts(name, count):
    return {f"letter {i} {name} é. yours" for i in range(count)}


def test_by_object_and_by_string(data_dir, monkeypatch):
    (source,) = open_sources(Data(source=Tfds(name="tiny_letters", config="de", data_dir=data_dir)))
    got = list(source.records())
    assert len(got) == 40 and set(got) == texts("de", 40)
    assert list(source.inputs[0].records(37)) == got[37:]
    monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
    (source,) = open_sources(Data(source="tfds:tiny_letters/en:test"))
    assert set(source.records()) == texts("en", 5) and source.name == "tfds:tiny_letters/en:test"
    (source,) = open_sources(Data(source="tfds:tiny_letters/en:train[:25%]", text_key="head/title"))
    assert len(list(source.records())) == 10 and all(t.startswith("no ") for t in source.records())
    assert "tensorflow" not in sys.modules


def test_prepared_into_a_store(data_dir, fake_text):
    source = Tfds(name="tiny_letters", config="en", data_dir=data_dir)
    corpus = prepare(Data(source=source, heldout=0.1), fake_text.Text())
    assert corpus.report["documents"] == 40
    assert prepare(Data(source=source, heldout=0.1), fake_text.Text()).dir == corpus.dir
    assert data_dir not in str(corpus.manifest)


def test_examples_with_their_labels(data_dir):
    examples, builder = data_source("tiny_letters/en", "test", data_dir)
    assert sorted(example["label"] for example in examples) == [0, 1, 2, 3, 4]
    assert builder.info.splits["test"].num_examples == 5


@pytest.mark.parametrize(
    ("source", "word"),
    [
        (
            Tfds(name="tiny_letters", config="en", split="validation"),
            "no split 'validation'; it has: test, train",
        ),
        (Tfds(name="tiny_letters", config="en", text_key="body"), r"no feature 'body' .*text"),
        (Tfds(name="no_such_set"), "knows no such data set"),
        (Tfds(name="glue", config="sst3"), "BuilderConfig sst3 not found"),
    ],
)
def test_mistakes_are_one_line(data_dir, source, word):
    with pytest.raises(UserError, match=word) as error:
        open_sources(Data(source=dataclasses.replace(source, data_dir=data_dir)))
    assert "\n" not in str(error.value)


def test_a_cut_file_is_found(data_dir, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(data_dir, folder)
    (path,) = folder.glob("tiny_letters/en/1.0.0/*train*")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged"):
        list(
            open_sources(Data(source=Tfds(name="tiny_letters", config="en", data_dir=str(folder))))[
                0
            ].records()
        )


@pytest.mark.parametrize(
    ("status", "line", "kind", "word"),
    [
        (2, "preparing it needs TensorFlow: pip install 'ssl_jax[prepare-tf]'", UserError, "prepare-tf"),
        (1, "OSError: disk", Failure, "could not be prepared: OSError: disk"),
        (-9, "", Failure, "exit status -9"),
    ],
)
def test_what_the_preparing_process_says_is_passed_on(tmp_path, monkeypatch, status, line, kind, word):
    done = subprocess.CompletedProcess((), status, stdout=f"some progress\n{line}\n" if line else "")
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: done)
    with pytest.raises(kind, match=word):
        data_source("imdb_reviews", "train", str(tmp_path))


def test_reasons_are_found_behind_other_errors():
    def chained(cause):
        try:
            try:
                raise cause
            except Exception as error:
                raise RuntimeError("while generating") from error
        except RuntimeError as error:
            return error

    assert "prepare-tf" in explain(chained(ModuleNotFoundError("x", name="tensorflow")))
    assert "example.org can't be reached" in explain(chained(Offline("example.org")))
    assert explain(chained(KeyError("x"))) is None
