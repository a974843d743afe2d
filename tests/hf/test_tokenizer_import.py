# SPDX-License-Identifier: Apache-2.0
"""Tokenizers in: those of `transformers`' families, and our own exports."""

import io
import json

import pytest
import sentencepiece

from ssl_jax import text as T
from ssl_jax.hf import tokenizer_check
from ssl_jax.hf.tokenizer import Template, export_tokenizer
from ssl_jax.hf.tokenizer_import import add_tokens, keep_tokenizer
from ssl_jax.types import UserError

from .conftest import ALL, DOCUMENTS, WORDS, ids_of, is_tie, opened
from .directories import FAMILIES
from .lines import masked_lines, mixed_lines


@pytest.mark.parametrize("name", ALL)
def test_an_export_comes_back_with_its_fingerprint(name, exported, tmp_path):
    ours, _, out = exported(name)
    keep_tokenizer(out, tmp_path / "kept")
    assert T.load(tmp_path / "kept").fingerprint == ours.fingerprint


@pytest.mark.parametrize("name", ["bpe", "raw", "prefix", "unigram", "metaspace"])
def test_an_export_saved_by_others_gives_the_same_ids(name, exported, tmp_path):
    """Without what restores our own directory: of the tokenizer.json alone."""
    ours, _, out = exported(name)
    (tmp_path / "hub").mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "hub" / file).write_bytes((out / file).read_bytes())
    keep_tokenizer(tmp_path / "hub", tmp_path / "kept")
    kept = T.load(tmp_path / "kept")
    assert kept.specials == ours.specials and kept.vocab_size == ours.vocab_size
    lines = list(mixed_lines(WORDS, 400, seed=1))
    mask = "[MASK]" if name != "metaspace" else "<mask>"
    masked = list(masked_lines(WORDS, 200, mask, seed=1))
    plain = [*zip(ours.encode_batch(lines), kept.encode_batch(lines))]
    typed = [(ours.encode_with_masks(t), kept.encode_with_masks(t)) for t in masked]
    for pairs, share in ((plain, 0.005), (typed, 0.01)):
        differ = [(a.tolist(), b.tolist()) for a, b in pairs if a.tolist() != b.tolist()]
        # Only unigram's, and each a tie; how many depends on the lines, and they on Python's Unicode tables.
        assert len(differ) <= (share * len(pairs) if name == "unigram" else 0)
        assert all(is_tie(ours, a, b) for a, b in differ)


ROLES = {
    "roberta": {"pad": "<pad>", "cls": "<s>", "sep": "</s>", "mask": "<mask>", "unk": "<unk>", "eos": "</s>"},
    "gpt2": {
        "pad": "<|endoftext|>",
        "bos": "<|endoftext|>",
        "eos": "<|endoftext|>",
        "cls": None,
        "mask": None,
    },
    "modernbert": {"pad": "[PAD]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "qwen": {"pad": "<|endoftext|>", "eos": "<|im_end|>", "bos": "<|endoftext|>", "unk": None, "mask": None},
    "xlmr": {"pad": "<fill>", "cls": "<begin>", "sep": "<end>", "mask": "<hole>", "unk": "<odd>"},
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "old_bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_gives_the_ids_of_its_own_tokenizer(family, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_check, "LINES", 200)
    folder = FAMILIES[family](DOCUMENTS, tmp_path / "hub")
    keep_tokenizer(folder, tmp_path / "kept")
    ours = T.load(tmp_path / "kept")
    name_of = lambda i: None if i is None else ours.pieces([i])[0]
    assert {role: name_of(getattr(ours.specials, role)) for role in ROLES[family]} == ROLES[family]
    library = opened(folder.parent / "new" if family == "old_bert" else folder)
    lines = list(mixed_lines(WORDS, 400))
    if family == "xlmr":  # of typed specials the library's unigram model finds its own
        lines = [line for line in lines if "<" not in line]
    assert [ids.tolist() for ids in ours.encode_batch(lines)] == ids_of(library, lines)
    chunks, counts = ours.encode_flat(["the first", "second one"], [False, True], 1)
    whole = ours.encode("the first second one").tolist()
    if family in ("xlmr", "bert"):  # the middle of a text, with the space before it cut off
        assert chunks.tolist() == whole and counts.sum() == len(whole)
    template = Template.TEXTS if ours.specials.cls is not None else Template.DOCUMENT
    again = export_tokenizer(
        tmp_path / "kept", tmp_path / "out", template=template, max_length=64, token_types=False
    )
    assert again.check.share <= (0.005 if family == "xlmr" else 0)
    keep_tokenizer(tmp_path / "out", tmp_path / "back")
    assert T.load(tmp_path / "back").fingerprint == ours.fingerprint
    if mask := ROLES[family].get("mask"):
        library.encode_special_tokens = False
        lines = list(masked_lines(WORDS, 300, mask))
        assert [ours.encode_with_masks(line).tolist() for line in lines] == ids_of(library, lines)


def test_added_tokens_take_new_ids_wherever_they_stand(exported, tmp_path):
    for name in ("bpe", "raw", "wordpiece", "byte_level"):
        ours, where, _ = exported(name)
        T.TokenizerDir(path=str(where)).train([], tmp_path / name)
        assert add_tokens(tmp_path / name, ["Zorblax", "床前明", "Zorblax"]) == 2
        assert add_tokens(tmp_path / name, ["Zorblax", "qux-7"]) == 1
        assert add_tokens(tmp_path / name, []) == 0
        more, size = T.load(tmp_path / name), ours.vocab_size
        assert more.vocab_size == size + 3 and more.specials == ours.specials
        for text in ("the Zorblax, ok", "(Zorblax)", "Zorblax", "x Zorblax\nqux-7", "明月床前明月"):
            ids = more.encode(text).tolist()
            expected = text.count("Zorblax") + text.count("床前明") + text.count("qux-7")
            assert sum(i >= size for i in ids) == expected, (name, text)
        lines = list(mixed_lines(["a", "the"], 200))
        assert [i.tolist() for i in more.encode_batch(lines)] == [
            i.tolist() for i in ours.encode_batch(lines)
        ]
        with pytest.raises(UserError, match="empty or white space"):
            add_tokens(tmp_path / name, [" "])


def test_an_extended_tokenizer_can_be_exported(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_check, "LINES", 200)
    _, where, _ = exported("bpe")
    T.TokenizerDir(path=str(where)).train([], tmp_path / "t")
    add_tokens(tmp_path / "t", ["Zorblax"])
    ours = T.load(tmp_path / "t")
    out = tmp_path / "out"
    export_tokenizer(tmp_path / "t", out, template=Template.TEXTS, max_length=64, token_types=True)
    lines = [*masked_lines([*WORDS, *["Zorblax"] * 500], 300, "[MASK]")]
    found = ids_of(opened(out, specials_are_text=False), lines)
    assert found == [ours.encode_with_masks(line).tolist() for line in lines]
    keep_tokenizer(out, tmp_path / "back")
    assert T.load(tmp_path / "back").fingerprint == ours.fingerprint


def test_xlmrs_sentencepiece_model_alone(tmp_path):
    """fairseq's ids: <s> <pad> </s> <unk>, then the model's pieces from its fourth on, <mask> last."""
    model, hub = io.BytesIO(), tmp_path / "hub"
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(DOCUMENTS[0].split("\n")), model_writer=model, vocab_size=120, minloglevel=2
    )
    hub.mkdir()
    (hub / "sentencepiece.bpe.model").write_bytes(model.getvalue())
    keep_tokenizer(hub, tmp_path / "kept")
    kept = T.load(tmp_path / "kept")
    reference = sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())
    assert kept.pieces(range(4)) == ["<s>", "<pad>", "</s>", "<unk>"]
    assert (
        kept.pieces([kept.specials.mask]) == ["<mask>"] and kept.specials.mask == kept.vocab_size - 1 == 121
    )
    for text in ["the statement", "  If x: Ĳ.", *DOCUMENTS[1].split("\n")[:20]]:
        ids = [i + 1 if i else 3 for i in reference.encode(text)]
        assert kept.encode(text).tolist() == ids
        assert kept.encode_with_masks(f"{text} <mask>").tolist() == [*ids, 121]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "has no tokenizer: neither tokenizer.json nor vocab.txt"),
        ({"spiece.model": ""}, "has a spiece.model, but no tokenizer.json: write one with AutoTokenizer"),
        ({"tokenizer.json": "{"}, "tokenizer.json is no JSON"),
        ({"tokenizer.json": "[]"}, "holds no JSON object"),
        ({"tokenizer.json": "{}"}, "no tokenizer that `tokenizers` can open"),
        ({"vocab.txt": "a\nb\n"}, "is no BERT vocabulary"),
        ({"tokenizer.json": "{}", "tokenizer_config.json": '{"added_tokens_decoder": {"x": 1}}'}, "can open"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "b c\n"}, "can open"),
        ({"sentencepiece.bpe.model": "nonsense"}, "no sentencepiece model"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\n"}, "no padding token"),
    ],
)
def test_what_is_no_tokenizer_is_refused(files, message, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=message):
        keep_tokenizer(tmp_path, tmp_path / "kept")
    assert not (tmp_path / "kept").exists()


def test_gpt2s_two_files_are_its_tokenizer_json(tmp_path):
    folder = FAMILIES["gpt2"](DOCUMENTS, tmp_path / "hub")
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = "".join(f"{' '.join(pair)}\n" for pair in model["merges"])
    (tmp_path / "old" / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    keep_tokenizer(folder, tmp_path / "a")
    keep_tokenizer(tmp_path / "old", tmp_path / "b")
    lines = list(mixed_lines(WORDS, 100))
    a, b = T.load(tmp_path / "a"), T.load(tmp_path / "b")
    assert [ids.tolist() for ids in a.encode_batch(lines)] == [ids.tolist() for ids in b.encode_batch(lines)]
    assert a.specials.eos == b.specials.eos == b.specials.pad
