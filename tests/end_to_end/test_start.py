# SPDX-License-Identifier: Apache-2.0
"""How a run may begin or go on: from weights, as a branch, anew, longer, changed."""

import shutil

import pytest

from ssl_jax.cli.main import main
from ssl_jax.types import Axes
from ssl_jax.weights import fits
from tests.end_to_end.runs import assert_same_run, assert_same_state, curve, parameters, said


def test_from_takes_the_weights_alone_and_fresh_begins_anew(place, whole, tmp_path):
    workdir = tmp_path / "run"
    out, _ = place.done(workdir, "--from", whole)
    assert f"weights from {whole}@40\n" in out
    before, after = curve(workdir)[0], curve(whole)[-1]
    for name in ("heldout/loss", "heldout/mlm", "heldout/nsp"):
        assert before[name] == after[name]  # the averaged weights, which are what was measured
    first = curve(workdir)[1]
    assert (first["rows"], first["lr"]) == ([0, 8], 0.0)

    out, _ = place.done(workdir, "--fresh")
    assert "weights from" not in out
    assert_same_run(workdir, whole)


@pytest.mark.slow
def test_a_branch_keeps_optimizer_and_place_in_the_data_and_may_be_made_longer(place, whole, tmp_path):
    workdir = tmp_path / "branch"
    sets = ["--set", "checkpoint.every=2", "--set", "loop.num_steps=42"]
    out, _ = place.done(workdir, "--branch", f"{whole}@36", *sets, recipe=":constant")
    assert f"branching off {whole}@36, data from row 288" in out
    ours = curve(workdir)
    assert [line["step"] for line in ours] == [37, 38, 39, 40, 41, 42]
    theirs = curve(whole)[37]
    assert ours[0]["lr"] != theirs["lr"]
    for name in ("loss", "mlm", "nsp", "grad_norm", "rows", "hash"):
        assert ours[0][name] == theirs[name]  # before its first update it is that run
    assert [line["hash"] for line in ours[:4]] == [line["hash"] for line in curve(whole)[37:]]

    out, _ = place.done(workdir, *sets[:2], "--set", "loop.num_steps=45", recipe=":constant")
    assert "loop.duration.n: 42 -> 45" in out and "at step 42 (verified)" in out
    assert [line["step"] for line in curve(workdir)] == list(range(37, 46))
    assert curve(workdir)[:6] == ours

    _, err = place.done(workdir, "--branch", f"{whole}@20", recipe=":constant", status=2)
    assert "did not branch off" in err
    elsewhere, changes = tmp_path / "other", ["--set", "model.dropout=0.2"]
    _, err = place.done(elsewhere, "--branch", f"{whole}@36", *changes, recipe=":constant", status=2)
    assert "model.dropout: " in err and "--from" in err


@pytest.mark.slow
def test_heads_that_the_weights_lack_are_drawn(place, whole, tmp_path):
    masked = place.folder / "masked.py"
    text = place.recipe.read_text().replace("BertPretraining(plan=Pairs", "MaskedLm(plan=Packed")
    text = text.replace("import BertPretraining", "import MaskedLm").replace("Data, Pairs", "Data, Packed")
    masked.write_text(text)
    out, _ = place.done(tmp_path / "masked", "--from", whole, at=masked)
    assert "weights from" in out and "fresh heads" not in out  # pooler and nsp are left behind
    out, _ = place.done(tmp_path / "back", "--from", tmp_path / "masked")
    assert "fresh heads: nsp, pooler" in out


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["model.dim=64"], ["model.dim was 32, now 64", "--fresh"]),
        (["seed=1"], ["seed was 0, now 1", "--fresh"]),
        (["loop.batch_size=16"], ["loop.batch_size was 8, now 16", "--branch"]),
        (["loop.num_steps=80"], ["loop.duration.n was 40, now 80", "--branch"]),
        (["optim.peak_lr=1e-4"], ["optim.peak_lr was 0.001, now 0.0001", "--branch"]),
        (["model.dim=64", "loop.batch_size=16"], ["model.dim was 32", "loop.batch_size was 8", "--fresh"]),
    ],
)
def test_changes_that_a_resumed_run_refuses_are_shown(place, whole, capsys, sets, words):
    before = (whole / "config.json").read_bytes()
    words_set = [word for setting in sets for word in ("--set", setting)]
    assert main(["pretrain", str(place.recipe), "--workdir", str(whole), *words_set]) == 2
    line = said(capsys)
    assert all(word in line for word in words), line
    assert (whole / "config.json").read_bytes() == before


def test_free_changes_are_named_and_taken(place, whole, tmp_path, capsys):
    workdir = shutil.copytree(whole, tmp_path / "run")
    words = ["pretrain", str(place.recipe), "--workdir", str(workdir)]
    assert main([*words, "--set", "checkpoint.every=5", "--set", "loop.log_every=2"]) == 0
    out = capsys.readouterr().out
    assert "checkpoint.every: 4 -> 5" in out and "loop.log_every: 1 -> 2" in out
    assert_same_state(parameters(workdir), parameters(whole))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("model.dim=48", "doesn't fit this model: trunk.embeddings.norm.bias is (32,), here (48,)"),
        ("model.num_layers=3", "doesn't fit this model: trunk.stack.blocks."),
        ("text.tokenizer.vocab_size=390", "has another tokenizer than this recipe's corpus"),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_anything_is_compiled(
    place, whole, tmp_path, monkeypatch, capsys, change, reason
):
    monkeypatch.setenv("SSL_JAX_CACHE", place.env["SSL_JAX_CACHE"])
    words = [w for s in ("loop.micro_batch=None", change) for w in ("--set", s)]
    here = ["--workdir", str(tmp_path / "run"), "--from", str(whole)]
    assert main(["pretrain", str(place.recipe), *here, *words]) == 2
    printed = capsys.readouterr()
    (line,) = [line for line in printed.err.splitlines() if line.startswith("ssl-jax:")]
    assert f"{whole}@40 {reason}" in line
    assert "compiling" not in printed.out + printed.err


def test_a_vocabulary_may_be_padded_for_another_mesh():
    table = Axes(("vocab", "embed"))
    assert fits((384, 8), (512, 8), table, vocab_size=300) and fits((512, 8), (384, 8), table, vocab_size=300)
    for there in [(256, 8), (384, 16), (384,), None]:
        assert not fits(there, (512, 8), table, vocab_size=300)
