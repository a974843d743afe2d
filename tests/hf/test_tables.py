# SPDX-License-Identifier: Apache-2.0
"""The tables against what `transformers` stored and computed (tests/golden/make_hf.py); there and back."""

import dataclasses
import functools
import json
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from ssl_jax import hf, models, nn
from ssl_jax.hf.configs import read_config
from ssl_jax.objectives import BertPretraining, Classification, MaskedLm, NextToken, Read
from tests.hf.cases import CASES, RETURNING, exported, imported, made, outputs, state
from tests.models import tiny
from tests.models.tiny import FAMILIES, distance

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "hf.npz"
TOLERANCE = 1e-5  # of the largest number


@functools.cache
def known():
    return json.loads(GOLDEN.with_suffix(".json").read_text())


@pytest.mark.parametrize("name", CASES)
def test_every_tensor_that_transformers_stores_leaves_under_its_name_with_its_numbers(name):
    from tests.golden.make_hf import checksum

    ours = {key: [list(value.shape), checksum(value)] for key, value in state(name, made(name)[1]).items()}
    assert ours == known()[name]["tensors"]


@pytest.mark.parametrize("name", RETURNING)
def test_the_config_that_transformers_saves_is_ours_again(name):
    case = CASES[name]
    _, config = read_config(known()[name]["config"])
    ours, theirs = case.bound.spec(), config.bind(case.meta).spec()
    how_it_began = dict(init_truncated=ours.init_truncated, residual_scale=ours.residual_scale)
    assert dataclasses.replace(theirs, **how_it_began) == ours


HEADS = (
    "bert_classes",
    "bert_spans",
    "modernbert_tags",
    "roberta",
    "roberta_classes",
    "gpt2_classes",
    "modernbert_classes",
    "qwen3_untied",
)


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[] if n in HEADS else [pytest.mark.slow]) for n in CASES if n not in FAMILIES],
)
def test_outputs_equal_those_of_transformers(name):
    """Those of FAMILIES are compared in tests/models/test_golden_logits.py."""
    ours = outputs(name, made(name)[1])
    with np.load(GOLDEN) as golden:
        for key, value in ours.items():
            theirs = golden[f"{name}.{key}"]
            assert distance(value[:, : theirs.shape[1]], theirs) <= TOLERANCE, key


@pytest.mark.parametrize("name", RETURNING)
def test_what_leaves_comes_back_bit_for_bit(name, tmp_path):
    leaves = made(name)[1]
    back = imported(name, exported(name, tmp_path / "out"))
    assert back.keys() == leaves.keys()
    for key in leaves:
        np.testing.assert_array_equal(back[key], leaves[key], err_msg=key)
    again = exported(name, tmp_path / "again", back)
    for file in ("model.safetensors", "config.json"):
        assert (again / file).read_bytes() == (tmp_path / "out" / file).read_bytes()


def test_shards_hold_what_one_file_holds_and_none_is_larger_than_asked(tmp_path):
    from safetensors.numpy import load_file

    limit = 40_000
    out = exported("bert", tmp_path / "out", shard_size=limit)
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = sorted(out.glob("model-*.safetensors"))
    assert len(files) > 2 and files[0].name == f"model-00001-of-{len(files):05d}.safetensors"
    stored = {file.name: load_file(file) for file in files}
    whole = load_file(exported("bert", tmp_path / "one") / "model.safetensors")
    assert index["weight_map"] == {key: name for name, tensors in stored.items() for key in tensors}
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in whole.values())
    for name, tensors in stored.items():
        assert sum(value.nbytes for value in tensors.values()) <= limit
        for key, value in tensors.items():
            np.testing.assert_array_equal(value, whole[key], err_msg=f"{name} {key}")
    back = imported("bert", out)
    for key, leaf in made("bert")[1].items():
        np.testing.assert_array_equal(back[key], leaf, err_msg=key)


def test_bfloat16_rounds_to_the_nearest_and_returns_bit_for_bit(tmp_path):
    leaves = made("modernbert")[1]
    out = exported("modernbert", tmp_path / "out", dtype="bfloat16")
    back = imported("modernbert", out)
    for key, leaf in leaves.items():
        np.testing.assert_array_equal(back[key], leaf.astype(ml_dtypes.bfloat16).astype("f4"), err_msg=key)
    again = exported("modernbert", tmp_path / "again", back, dtype="bfloat16")
    assert (again / "model.safetensors").read_bytes() == (out / "model.safetensors").read_bytes()


def test_a_file_of_the_past_reads_like_one_of_today(tmp_path):
    """gamma and beta for weight and bias, the trunk's prefix left out, masks and tied tensors stored, too."""
    from safetensors.numpy import load_file, save_file

    for name, old in (("bert", _of_2018), ("gpt2", _of_2019)):
        out = exported(name, tmp_path / name)
        save_file(old(load_file(out / "model.safetensors")), out / "model.safetensors")
        back = imported(name, out)
        for key, leaf in made(name)[1].items():
            np.testing.assert_array_equal(back[key], leaf, err_msg=key)


def _of_2018(tensors):
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"]
    tensors["bert.embeddings.position_ids"] = np.arange(40, dtype="f4")[None]
    old = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}

    def renamed(key):
        return next((key.removesuffix(new) + past for new, past in old.items() if key.endswith(new)), key)

    return {renamed(key): value for key, value in tensors.items()}


def _of_2019(tensors):
    tensors["transformer.h.0.attn.bias"] = np.tri(40, dtype="f4")[None, None]
    return {key.removeprefix("transformer."): value for key, value in tensors.items()}


def test_a_pretrained_bert_called_a_masked_language_model_keeps_its_other_heads(tmp_path):
    """As bert-base-uncased is."""
    out = exported("bert", tmp_path / "out")
    config = json.loads((out / "config.json").read_text())
    (out / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    assert isinstance(hf.Incoming(out).objective, BertPretraining)
    assert imported("bert", out).keys() == made("bert")[1].keys()


@pytest.mark.parametrize(
    ("config", "objective", "named"),
    [
        (tiny.BERT, BertPretraining(), []),
        (tiny.MODERN, MaskedLm(), []),
        (tiny.QWEN, NextToken(), []),
        (tiny.BERT, NextToken(), ["objective=NextToken on BertConfig"]),
        (tiny.GPT, Classification(read=Read.MEAN), ["objective.read=MEAN (LAST can be)"]),
        (dataclasses.replace(tiny.QWEN, qk_norm=False), NextToken(), ["model.qk_norm=False"]),
        (dataclasses.replace(tiny.QWEN, local_theta=1e4), NextToken(), ["model.local_theta=10000.0"]),
        (
            dataclasses.replace(tiny.MODERN, norm=nn.NormKind.RMS, num_kv_heads=1),
            MaskedLm(),
            ["model.norm=NormKind.RMS", "model.num_kv_heads=1"],
        ),
    ],
)
def test_what_no_architecture_has_is_named(config, objective, named):
    assert hf.inexpressible(config, objective) == named


def test_a_network_of_ones_own_is_named():
    class Foreign(models.BertConfig):
        pass

    assert hf.inexpressible(object(), MaskedLm()) == ["model=object"]
