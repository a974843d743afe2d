# SPDX-License-Identifier: Apache-2.0
"""Exported tokenizers as `transformers` opens them, and those of its families as we do."""

import json

import pytest

from ssl_jax import text as T
from ssl_jax.hf.tokenizer import Template, export_tokenizer
from ssl_jax.hf.tokenizer_import import add_tokens, keep_tokenizer

from ..hf.conftest import DOCUMENTS, EXACT, SMALL, UNIGRAM, WORDS, is_tie
from ..hf.directories import FAMILIES
from ..hf.lines import masked_lines, mixed_lines
from ..hf.test_tokenizer_import import ROLES

pytestmark = pytest.mark.parity

CASED = T.SentencePiece(**SMALL, normalization="nmt_nfkc_cf")
CONFIGS = {**EXACT, "unigram": UNIGRAM, "folded": CASED}
LINES = list(mixed_lines(WORDS, 5000, seed=7))


@pytest.fixture(scope="module", params=CONFIGS)
def pair(request, tmp_path_factory):
    """(name, our tokenizer, what AutoTokenizer makes of its export, the folder)."""
    from transformers import AutoTokenizer, BertConfig

    root = tmp_path_factory.mktemp(request.param)
    CONFIGS[request.param].train(DOCUMENTS, root / "ours")
    export_tokenizer(root / "ours", root / "out", template=Template.TEXTS, max_length=64, token_types=True)
    BertConfig().save_pretrained(root / "out")
    return request.param, T.load(root / "ours"), AutoTokenizer.from_pretrained(root / "out"), root


def test_5000_lines(pair):
    name, ours, theirs, _ = pair
    trained = [ids.tolist() for ids in ours.encode_batch(LINES)]
    found = theirs(LINES, add_special_tokens=False, split_special_tokens=True).input_ids
    different = [i for i in range(len(LINES)) if trained[i] != found[i]]
    assert len(different) <= (0.005 * len(LINES) if name == "unigram" else 0)
    assert all(is_tie(ours, trained[i], found[i]) for i in different)
    named = ours.specials.ids()
    plain = [[i for i in ids if i not in named] for ids in trained]
    assert theirs.batch_decode(trained, skip_special_tokens=True) == [ours.decode(ids) for ids in plain]


def test_fill_mask_reads_what_training_saw(pair):
    from transformers import BertConfig, BertForMaskedLM, pipeline

    name, ours, theirs, _ = pair
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = BertForMaskedLM(BertConfig(vocab_size=ours.vocab_size, max_position_embeddings=4096, **sizes))
    fill = pipeline("fill-mask", model=model, tokenizer=theirs)
    s, different = ours.specials, 0
    for text in masked_lines(WORDS, 300, "[MASK]", seed=7):
        ids = fill.preprocess(text)["input_ids"][0].tolist()
        different += ids != [s.cls, *ours.encode_with_masks(text).tolist(), s.sep]
    assert different <= (3 if name == "unigram" else 0)  # ties
    assert [len(guesses) for guesses in fill("床前[MASK]月[MASK]", top_k=3)] == [3, 3]


def test_what_transformers_saves_comes_back(pair):
    name, ours, theirs, root = pair
    theirs.save_pretrained(root / "saved")
    keep_tokenizer(root / "saved", root / "kept")
    kept = T.load(root / "kept")
    assert kept.specials == ours.specials
    differ = sum(a.tolist() != b.tolist() for a, b in zip(*(t.encode_batch(LINES) for t in (ours, kept))))
    assert differ <= (0.005 * len(LINES) if name == "unigram" else 0)


def test_the_pair_template_and_the_special_tokens(pair):
    _, ours, theirs, _ = pair
    s, a, b = ours.specials, ours.encode("a").tolist(), ours.encode("the").tolist()
    found = theirs("a", "the")
    assert found.input_ids == [s.cls, *a, s.sep, *b, s.sep]
    assert found.token_type_ids == [0] * (len(a) + 2) + [1] * (len(b) + 1)
    ids = [getattr(theirs, f"{role}_token_id") for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos")]
    assert ids == [s.pad, s.unk, s.cls, s.sep, s.mask, s.bos, s.eos] and theirs.model_max_length == 64


ARCHITECTURE = {
    "roberta": "RobertaConfig",
    "gpt2": "GPT2Config",
    "modernbert": "ModernBertConfig",
    "qwen": "Qwen3Config",
    "xlmr": "XLMRobertaConfig",
    "bert": "BertConfig",
    "old_bert": "BertConfig",
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_ids_of_transformers_tokenizer(family, tmp_path):
    import transformers

    folder = FAMILIES[family](DOCUMENTS, tmp_path / "hub")
    getattr(transformers, ARCHITECTURE[family])().save_pretrained(folder)
    theirs = transformers.AutoTokenizer.from_pretrained(folder)
    keep_tokenizer(folder, tmp_path / "kept")
    ours = T.load(tmp_path / "kept")
    lines = LINES[:2000]
    if family == "xlmr":  # of typed specials a unigram model finds its own among its pieces
        lines = [line for line in lines if "<" not in line]
    found = theirs(lines, add_special_tokens=False, split_special_tokens=True).input_ids
    assert [ids.tolist() for ids in ours.encode_batch(lines)] == found
    for role in ROLES[family]:
        id_of = getattr(theirs, f"{role}_token_id", None)
        if id_of is not None:
            assert getattr(ours.specials, role) == id_of, role
    if theirs.mask_token:
        masked = list(masked_lines(WORDS, 300, theirs.mask_token))
        found = theirs(masked, add_special_tokens=False).input_ids
        assert [ours.encode_with_masks(text).tolist() for text in masked] == found
    assert add_tokens(tmp_path / "kept", ["Zorblax", "qux-7"]) == theirs.add_tokens(["Zorblax", "qux-7"])
    text = "the Zorblax qux-7, (Zorblax)"
    assert T.load(tmp_path / "kept").encode(text).tolist() == theirs(text, add_special_tokens=False).input_ids


def test_a_decoders_prompt_begins_with_bos(tmp_path):
    from transformers import AutoTokenizer, GPT2Config

    T.SentencePiece(**SMALL).train(DOCUMENTS, tmp_path / "ours")
    out = tmp_path / "out"
    export_tokenizer(tmp_path / "ours", out, template=Template.DOCUMENT, max_length=64, token_types=False)
    GPT2Config().save_pretrained(out)
    theirs, ours = AutoTokenizer.from_pretrained(out), T.load(tmp_path / "ours")
    assert theirs("the end").input_ids == [ours.specials.bos, *ours.encode("the end")]
    assert "token_type_ids" not in theirs("the end") and theirs.padding_side == "left"
    assert "auto_map" not in json.loads((out / "tokenizer_config.json").read_text())
