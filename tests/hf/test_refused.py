# SPDX-License-Identifier: Apache-2.0
"""Directories that can't be taken as they are: one line each, that says what is wrong with which file."""

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ssl_jax import hf
from ssl_jax.types import Specials, UserError
from tests.hf.cases import CASES, exported, imported, outgoing

WEIGHTS = "model.safetensors"


def refused(name, path) -> str:
    with pytest.raises(UserError) as caught:
        imported(name, path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture
def bert(tmp_path):
    return exported("bert", tmp_path / "out")


def edit(path, change):
    tensors = load_file(path / WEIGHTS)
    change(tensors)
    save_file(tensors, path / WEIGHTS)


def configure(path, **options):
    config = json.loads((path / "config.json").read_text())
    (path / "config.json").write_text(json.dumps(config | options))


def test_all_tensors_without_a_place_are_listed(bert):
    def change(tensors):
        del tensors["bert.pooler.dense.bias"], tensors["bert.encoder.layer.1.output.dense.weight"]
        tensors["bert.encoder.layer.0.adapter.weight"] = np.zeros((2, 2), "f4")
        tensors["bert.encoder.layer.7.output.dense.bias"] = np.zeros(36, "f4")
        tensors["cls.predictions.bias"] = np.zeros(7, "f4")

    edit(bert, change)
    said = refused("bert", bert)
    assert "it lacks bert.encoder.layer.1.output.dense.weight, bert.pooler.dense.bias;" in said
    assert "layer.0.adapter.weight, bert.encoder.layer.7.output.dense.bias;" in said
    assert "cls.predictions.bias (7,), not (101,)" in said


def test_tied_weights_that_differ(tmp_path):
    out = exported("gpt2", tmp_path / "out")
    edit(out, lambda t: t.update({"lm_head.weight": t["transformer.wte.weight"] + 1}))
    assert "lm_head.weight and transformer.wte.weight should be one tensor" in refused("gpt2", out)


def test_truncated_and_corrupted_files(bert):
    whole = (bert / WEIGHTS).read_bytes()
    for damaged in (whole[:-100], whole[:5], b"\xff" * 8 + whole[8:], b""):
        (bert / WEIGHTS).write_bytes(damaged)
        assert "is damaged or no safetensors file" in refused("bert", bert)


def test_numbers_that_are_not_finite(bert):
    edit(bert, lambda t: t["bert.pooler.dense.bias"].__setitem__(0, np.nan))
    assert "bert.pooler.dense.bias holds numbers that are not finite" in refused("bert", bert)


def test_integers_are_no_weights(bert):
    edit(bert, lambda t: t.update({"bert.pooler.dense.bias": np.zeros(36, np.int8)}))
    assert "bert.pooler.dense.bias is I8" in refused("bert", bert)


def test_a_pickle_is_refused_with_the_way_to_convert_it(bert):
    (bert / WEIGHTS).rename(bert / "pytorch_model.bin")
    said = refused("bert", bert)
    assert "pytorch_model.bin is a pickle" in said and "BertForPreTraining.from_pretrained(" in said


def test_missing_files(bert, tmp_path):
    (bert / WEIGHTS).unlink()
    assert f"has no {WEIGHTS}" in refused("bert", bert)
    shards = exported("bert", tmp_path / "shards", shard_size=40_000)
    (shards / "model-00002-of-00007.safetensors").unlink(missing_ok=True)
    next(shards.glob("model-00001*")).unlink()
    assert "which its model.safetensors.index.json names" in refused("bert", shards)
    (bert / "config.json").write_text("{")
    assert "config.json is no JSON" in refused("bert", bert)


def test_sha256sums_are_checked(bert):
    assert not hf.verify(bert)
    digest = hashlib.sha256((bert / WEIGHTS).read_bytes()).hexdigest()
    (bert / hf.SUMS).write_text(f"{digest}  {WEIGHTS}\n")
    assert hf.verify(bert)
    flipped = bytearray((bert / WEIGHTS).read_bytes())
    flipped[-1] ^= 1
    (bert / WEIGHTS).write_bytes(flipped)
    for line, said in (
        (f"{digest}  {WEIGHTS}", "sha256 differs"),
        (f"{digest}  gone.json", "has no gone.json"),
        (f"{digest}  ../config.json", "no line of a hash"),
    ):
        (bert / hf.SUMS).write_text(line + "\n")
        with pytest.raises(UserError, match=said):
            hf.verify(bert)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("bert", dict(model_type="t5"), "model_type='t5' is no family that ssl_jax knows (bert, roberta"),
        ("bert", dict(architectures=["BertForMultipleChoice"]), "BertForMultipleChoice is none"),
        ("bert", dict(hidden_act="relu", is_decoder=True), "hidden_act='relu'; is_decoder=True"),
        ("bert", dict(position_embedding_type="relative_key"), "position_embedding_type='relative_key'"),
        ("bert", dict(tie_word_embeddings=False), "tie_word_embeddings=False"),
        ("bert", dict(quantization_config={"bits": 4}), "quantization_config"),
        ("bert", dict(hidden_size=None, vocab_size=None), "config.json lacks hidden_size, vocab_size"),
        ("gpt2", dict(scale_attn_by_inverse_layer_idx=True), "scale_attn_by_inverse_layer_idx=True"),
        ("gpt2", dict(embd_pdrop=0.3), "resid_pdrop=0.0, embd_pdrop=0.3 that differ"),
        ("qwen3", dict(rope_parameters={"rope_type": "yarn", "rope_theta": 1e6}), "RoPE scaling (yarn)"),
        ("qwen3", dict(attention_bias=True), "attention_bias=True"),
        ("qwen3", dict(layer_types=["sliding_attention"] * 3), "layer_types other than"),
        ("modernbert", dict(norm_bias=True), "norm_bias=True"),
        ("modernbert_classes", dict(classifier_pooling="mean"), "classifier_pooling=mean"),
        ("bert_classes", dict(problem_type="multi_label_classification"), "multi_label_classification"),
        ("bert_classes", dict(id2label={"0": "a", "2": "b"}), "id2label does not count from 0"),
    ],
)
def test_what_ours_cannot_express_is_named(name, options, said, tmp_path):
    out = exported(name, tmp_path / "out")
    configure(out, **options)
    assert said in refused(name, out)


def test_a_table_with_fewer_rows_than_the_tokenizer_has_tokens(bert):
    configure(bert, vocab_size=90)
    assert "its tokenizer has 101 tokens, its weights 90" in refused("bert", bert)


def test_a_leaf_that_no_tensor_holds_is_named():
    leaves = {"trunk.embeddings.tokens": np.zeros((128, 36), "f4"), "heads.mlm.extra": np.zeros(3, "f4")}
    model = outgoing("bert", leaves)
    with pytest.raises(UserError, match=r"no tensor of BertForPreTraining holds heads\.mlm\.extra"):
        model.write(None, dtype="float32", shard_size=1, progress=None)


def test_a_classifier_whose_end_is_its_padding():
    """Transformers takes such an end for padding, and reads the token before it."""
    case = CASES["gpt2_classes"]
    with pytest.raises(UserError, match="the token that also pads"):
        hf.Outgoing(case.bound, case.known, case.labels, Specials(pad=0, bos=0, eos=0), {}, None)
