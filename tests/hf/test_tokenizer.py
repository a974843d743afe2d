# SPDX-License-Identifier: Apache-2.0
"""Tokenizers out, against the `tokenizers` library, which `transformers` reads a directory with."""

import json
import random
import unicodedata

import pytest
import sentencepiece
import tokenizers

from ssl_jax.hf import charsmap, spm_json, tokenizer_check
from ssl_jax.hf.spm_proto import Kind, read_proto
from ssl_jax.hf.tokenizer import Template, export_tokenizer
from ssl_jax.types import Failure, UserError

from .conftest import ALL, WORDS, ids_of, is_tie, opened
from .lines import masked_lines, mixed_lines


@pytest.mark.parametrize("name", ALL)
def test_5000_lines_encode_and_decode_as_in_training(name, exported):
    """5,000 for the default; of the others a thousand here, and the rest with `transformers`."""
    ours, _, out = exported(name)
    lines = list(mixed_lines(WORDS, 5000 if name == "bpe" else 1000))
    trained = [ids.tolist() for ids in ours.encode_batch(lines)]
    library = opened(out)
    found = ids_of(library, lines)
    different = [i for i in range(len(lines)) if trained[i] != found[i]]
    assert len(different) <= (0.005 * len(lines) if name == "unigram" else 0), ascii(lines[different[0]])
    assert all(is_tie(ours, trained[i], found[i]) for i in different)
    named = ours.specials.ids()
    for ids in trained:
        assert library.decode(ids) == ours.decode([i for i in ids if i not in named])


@pytest.mark.parametrize("name", ALL)
def test_a_mask_gives_the_ids_that_training_saw(name, exported):
    ours, _, out = exported(name)
    if ours.specials.mask is None:
        pytest.skip("a decoder's")
    mask = "<mask>" if name == "metaspace" else "[MASK]"
    lines = [*masked_lines(WORDS, 500, mask), mask, f" {mask} ", f"{mask}{mask} {mask}", f"a\n{mask}\tb"]
    found = ids_of(opened(out, specials_are_text=False), lines)
    trained = [ours.encode_with_masks(line).tolist() for line in lines]
    different = [(line, a, b) for line, a, b in zip(lines, trained, found) if a != b]
    assert len(different) <= (0.01 * len(lines) if name == "unigram" else 0), ascii(different[:1])
    assert all(is_tie(ours, a, b) for _, a, b in different)


def test_typed_masks_are_told_from_what_the_normaliser_makes_of_other_text(exported):
    ours, _, out = exported("bpe")
    library, mask = opened(out, specials_are_text=False), ours.specials.mask
    for text in ("［MASK］", "[MA\x00SK]", "x ［MASK］"):
        ids = library.encode(text, add_special_tokens=False).ids
        assert ids == ours.encode_with_masks(text).tolist() == ours.encode(text).tolist()
        assert mask not in ids


def test_the_template_is_what_training_lays_out(exported):
    for name in ("bpe", "wordpiece", "metaspace"):
        ours, _, out = exported(name)
        s, a, b = ours.specials, ours.encode("a").tolist(), ours.encode("the").tolist()
        pair = opened(out).encode("a", "the")
        assert pair.ids == [s.cls, *a, s.sep, *b, s.sep]
        assert pair.type_ids == [0] * (len(a) + 2) + [1] * (len(b) + 1)
        assert opened(out).encode("a").ids == [s.cls, *a, s.sep]
    ours, _, out = exported("byte_level")
    assert opened(out).encode("the").ids == [ours.specials.bos, *ours.encode("the")]


def test_the_config_names_what_transformers_needs(exported):
    ours, _, out = exported("bpe")
    config = json.loads((out / "tokenizer_config.json").read_text())
    roles = {role: config[f"{role}_token"] for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos")}
    ids = {role: ours.pieces([getattr(ours.specials, role)])[0] for role in roles}
    assert roles == ids and roles["mask"] == "[MASK]"
    assert config["model_max_length"] == 64 and config["clean_up_tokenization_spaces"] is False
    assert config["model_input_names"] == ["input_ids", "token_type_ids", "attention_mask"]
    assert "auto_map" not in config
    vocab = (exported("wordpiece")[2] / "vocab.txt").read_text().splitlines()
    assert vocab == exported("wordpiece")[0].pieces(range(700))


def test_an_export_that_differs_is_refused(exported, tmp_path, monkeypatch):
    monkeypatch.setattr(tokenizer_check, "LINES", 200)
    monkeypatch.setattr(charsmap, "normalizers", lambda charsmap: [])
    where = exported("bpe")[1]
    with pytest.raises(Failure, match=r"isn't the trained one: of 200 lines \d+"):
        export_tokenizer(where, tmp_path / "o", template=Template.TEXTS, max_length=64, token_types=True)
    assert not (tmp_path / "o").exists()
    with pytest.raises(UserError, match=r"lacks the special token \[CLS\]"):
        export_tokenizer(
            exported("byte_level")[1],
            tmp_path / "o",
            template=Template.TEXTS,
            max_length=64,
            token_types=False,
        )


# ------------------------------------------------------------------------- the sentencepiece model


def test_the_normaliser_is_sentencepieces(exported):
    """Any keys of its map after another, and any characters: also where the library's Precompiled errs."""
    model = exported("bpe")[0].model_proto
    as_is = sentencepiece.SentencePieceProcessor(model_proto=model + b"\x1a\x04\x18\x00\x20\x00")
    proto = read_proto(model)
    keys = list(charsmap.read_map(proto.charsmap))
    config = {"type": "Sequence", "normalizers": charsmap.normalizers(proto.charsmap)}
    empty = json.loads(tokenizers.Tokenizer(tokenizers.models.BPE()).to_str())
    normalizer = tokenizers.Tokenizer.from_str(json.dumps(empty | {"normalizer": config})).normalizer
    rng = random.Random(0)
    for _ in range(3000):
        text = "".join(
            rng.choice(keys) if rng.random() < 0.6 else chr(rng.choice((0x41, 0x301, 0x323, 0x1161, 0xFE0F)))
            for _ in range(rng.randint(1, 5))
        )
        assert normalizer.normalize_str(text).replace(" ", "▁") == as_is.normalize(text), ascii(text)
    viet = unicodedata.normalize("NFD", "Tiếng Việt, 한국어, がぎぐ")
    assert normalizer.normalize_str(viet) == as_is.normalize(viet).replace("▁", " ")


def test_the_model_file_is_read_without_protobuf(exported):
    ours = exported("unigram")[0]
    proto, reference = read_proto(ours.model_proto), ours._plain
    for i, (piece, score, kind) in enumerate(proto.pieces):
        assert piece == reference.id_to_piece(i) and score == reference.get_score(i)
        assert (kind is Kind.CONTROL) == reference.is_control(i)
        assert (kind is Kind.BYTE) == reference.is_byte(i)
        assert (kind is Kind.UNKNOWN) == reference.is_unknown(i)
    assert proto.byte_fallback and proto.collapse_spaces and proto.dummy_prefix and not proto.is_bpe
    for broken in (b"", b"\xff" * 9, ours.model_proto[:5000]):
        with pytest.raises(UserError, match="sentencepiece"):
            read_proto(broken)


def test_names_of_specials_are_cut_before_their_letters():
    assert spm_json._starts(["[MASK]", "</s>"]) == r"\[(?=MASK\])|</(?=s>)"
