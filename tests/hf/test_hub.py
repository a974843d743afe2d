# SPDX-License-Identifier: Apache-2.0
"""export and import, the commands, without a training run."""

import json
import os
import signal
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest

from ssl_jax import hf, hub, weights
from ssl_jax.cli.main import main
from ssl_jax.hf.card import without_places
from ssl_jax.loop.checkpoint import read_leaves
from ssl_jax.source import find
from ssl_jax.workdir import Workdir
from tests.end_to_end.runs import said
from tests.hf import rooms

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module", autouse=True)
def room(tmp_path_factory):
    """A cache of its own; and pytest gets SIGTERM back from the commands that run in this process."""
    before = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_JAX_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return rooms.tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer")


@pytest.fixture(scope="module")
def there(tokenizer, tmp_path_factory):
    """Somebody's BERT."""
    return rooms.directory("bert", tokenizer, tmp_path_factory.mktemp("there") / "bert", spare=5)


@pytest.fixture(scope="module")
def here(there, tmp_path_factory):
    """The same, imported."""
    workdir = tmp_path_factory.mktemp("here") / "bert"
    assert main(["import", str(there), str(workdir)]) == 0
    return workdir


def test_imported_and_exported_again_the_files_are_the_same(there, here, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["export", str(here), str(out), "--language", "en", "de", "--license", "apache-2.0"]) == 0
    assert f"hf upload YOUR_NAME/out {out}" in capsys.readouterr().out
    for name in (WEIGHTS, "config.json", "tokenizer.json", "spm.model"):
        assert (out / name).read_bytes() == (there / name).read_bytes(), name
    summed = {line.split("  ")[1] for line in (out / hf.SUMS).read_text().splitlines()}
    assert summed == {path.name for path in out.iterdir()} - {hf.SUMS} and hf.verify(out)
    card = (out / "README.md").read_text()
    assert card.startswith('---\nlanguage:\n- "en"\n- "de"\nlicense: "apache-2.0"\n')
    assert "pipeline_tag: fill-mask" in card and "BertForPreTraining" in card
    assert str(tmp_path) not in card and str(here) not in card
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_is_a_model_like_the_workdir_made_of_it(there, here):
    ours, theirs = weights.load(str(here)), weights.load(str(there))
    assert ours.network.model == theirs.network.model and ours.network.objective == theirs.network.objective
    assert ours.tokenizer.fingerprint == theirs.tokenizer.fingerprint
    mine, other = (find(str(model)).stream() for model in (here, there))
    assert mine.shapes == other.shapes
    for name in mine.shapes:
        np.testing.assert_array_equal(mine.read([name])[name], other.read([name])[name], err_msg=name)


def test_fill_mask_says_the_same_of_both(there, here, capsys):
    shown = []
    for model in (there, here):
        assert main(["fill-mask", str(model), "Kalo [MASK] mi."]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1] and "%" in shown[0]


def test_longer_positions_repeat_and_new_tokens_are_means(there, here, tmp_path, capsys):
    workdir = tmp_path / "run"
    words = ["--positions", "70", "--add-tokens", "<gene>", "<protein>"]
    assert main(["import", str(there), str(workdir), *words]) == 0
    told = capsys.readouterr().out
    assert "70 positions: new ones start as copies" in told and "2 new tokens" in told
    old, new = (find(str(model)).stream() for model in (here, workdir))
    before, after = (s.read(["trunk.embeddings.positions"])["trunk.embeddings.positions"] for s in (old, new))
    np.testing.assert_array_equal(after, np.concatenate([before, before, before])[:70])
    loaded = weights.load(str(workdir))
    assert loaded.tokenizer.vocab_size == 302 and loaded.model.trunk.spec.vocab_size == 305
    for name in ("trunk.embeddings.tokens", "heads.mlm.bias"):
        before, after = old.read([name])[name], new.read([name])[name]
        np.testing.assert_array_equal(after[:300], before[:300])
        mean = before[:300].astype("f8").mean(axis=0)
        np.testing.assert_allclose(after[300:302], np.stack([mean, mean]), rtol=1e-6, atol=1e-7)
        np.testing.assert_array_equal(after[302:305], before[302:305])  # spare rows stay what they were


def test_a_generator_says_where_a_text_ends(tokenizer, tmp_path):
    out = rooms.directory("gpt2", tokenizer, tmp_path / "out")
    generation = json.loads((out / "generation_config.json").read_text())
    specials = json.loads((out / "config.json").read_text())
    ends = generation["eos_token_id"]
    assert generation["bos_token_id"] == specials["bos_token_id"]
    assert specials["bos_token_id"] in (ends if isinstance(ends, list) else [ends])


def test_a_recipe_in_a_card_names_no_folder():
    tree = {"source": "/home/me/books/*.txt.xz", "other": ["a\\b\\c.json", "tfds:glue/cola:train"], "n": 3}
    assert without_places(tree) == {"source": "*.txt.xz", "other": ["c.json", "tfds:glue/cola:train"], "n": 3}


# ------------------------------------------------------------------------------------------- refused


def attempt(capsys, *words) -> str:
    assert main([str(word) for word in words]) == 2
    return said(capsys)


def test_a_folder_that_holds_something_is_left_alone(there, here, tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    for command in (("export", here), ("import", there)):
        assert "is there already, and not empty" in attempt(capsys, *command, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_what_is_damaged_or_missing_leaves_nothing(there, tmp_path, capsys):
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", there, copy], check=True)
    out = tmp_path / "out"
    (copy / hf.SUMS).write_text(f"{'0' * 64}  {WEIGHTS}\n")
    assert "sha256 differs" in attempt(capsys, "import", copy, out)
    (copy / hf.SUMS).unlink()
    whole = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(whole[:-4])
    assert "is damaged" in attempt(capsys, "import", copy, out)
    (copy / WEIGHTS).write_bytes(whole)
    for name in ("tokenizer.json", "spm.model", "tokenizer_config.json"):
        (copy / name).unlink()
    assert "has no tokenizer" in attempt(capsys, "import", copy, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy"]


def test_fewer_positions_are_refused(there, tmp_path, capsys):
    words = ("import", there, tmp_path / "out", "--positions", "8")
    assert "none are taken away" in attempt(capsys, *words)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_before_and_in_the_middle(here, tmp_path, capsys, monkeypatch):
    full = OSError(28, os.strerror(28))

    class Usage:
        free = 10

    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: Usage)
        assert "its disk has 0 MB free" in attempt(capsys, "export", here, tmp_path / "out")
    monkeypatch.setattr("ssl_jax.hf.writing._write_tensor", lambda *_: (_ for _ in ()).throw(full))
    assert "the disk of" in attempt(capsys, "export", here, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_leaf_above_a_gigabyte_is_saved(tmp_path):
    """Orbax refuses a leaf that is larger than all that may be encoded at a time; GPT-2 XL's are 2 GB."""
    place = Workdir(tmp_path / "run")
    hub.save(place, {"trunk.large": jnp.zeros((260, 10**6), jnp.float32)})
    found, _ = read_leaves(place.checkpoints, 0, lambda name: True, {}, None)
    assert found["params.trunk.large"].shape == (260, 10**6)
