# SPDX-License-Identifier: Apache-2.0
"""Tokenizers in and out, against the `tokenizers` library, which `transformers` reads a directory with."""

import io
import json
import random
import unicodedata
from pathlib import Path

import pytest
import sentencepiece
import tokenizers

from ssl_jax import text as T
from ssl_jax.hf import charsmap, spm_json, tokenizer_check
from ssl_jax.hf.spm_proto import Kind, read_proto
from ssl_jax.hf.tokenizer import Template, export_tokenizer
from ssl_jax.hf.tokenizer_import import add_tokens, keep_tokenizer
from ssl_jax.types import Failure, UserError

from ..text.conftest import MANY_SCRIPTS, byte_level_json, english, metaspace_json
from .directories import FAMILIES
from .lines import masked_lines, mixed_lines

DOCUMENTS = [*english()[:40], *MANY_SCRIPTS]
WORDS = [word for text in DOCUMENTS for word in text.split()]
SMALL = {"vocab_size": 700, "sample_chars": 100_000, "character_coverage": 0.99}
EXACT = {
    "bpe": T.SentencePiece(**SMALL),
    "raw": T.SentencePiece(
        **SMALL, normalization="identity", collapse_spaces=False, dummy_prefix=False, split_digits=True
    ),
    "prefix": T.SentencePiece(**SMALL, normalization="identity"),
    "spaces": T.SentencePiece(**SMALL, collapse_spaces=False),
    "wordpiece": T.WordPiece(vocab_size=700, lowercase=True, sample_chars=100_000, alphabet=250),
}
UNIGRAM = T.SentencePiece(**SMALL, model=T.SpmModel.UNIGRAM)
ALL = ("bpe", "raw", "prefix", "spaces", "wordpiece", "unigram", "byte_level", "metaspace")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """name -> (our tokenizer, its directory, the exported directory), made at the first use."""
    root = tmp_path_factory.mktemp("exported")
    made = {}

    def make(name):
        if name not in made:
            ours = root / name / "ours"
            ours.parent.mkdir()
            if name in ("byte_level", "metaspace"):
                write = byte_level_json if name == "byte_level" else metaspace_json
                path = write([text[:800] for text in DOCUMENTS], root / name / "some.json")
                T.TokenizerJson(path=str(path)).train([], ours)
            else:
                EXACT.get(name, UNIGRAM).train(DOCUMENTS, ours)
            template = Template.DOCUMENT if name == "byte_level" else Template.TEXTS
            export_tokenizer(ours, root / name / "out", template=template, max_length=64, token_types=True)
            made[name] = T.load(ours), ours, root / name / "out"
        return made[name]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tokenizer_check, "LINES", 200)
        yield make


def opened(folder: Path, specials_are_text: bool = True) -> tokenizers.Tokenizer:
    result = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    result.encode_special_tokens = specials_are_text
    return result


def ids_of(library: tokenizers.Tokenizer, lines: list[str]) -> list[list[int]]:
    return [found.ids for found in library.encode_batch(lines, add_special_tokens=False)]


def is_tie(unigram, *both: list[int]) -> bool:
    """The pieces are as likely, and make the same text."""
    scores = [score for _, score, _ in read_proto(unigram.model_proto).pieces]
    one, other = (sum(scores[token] for token in ids) for ids in both)
    return one == pytest.approx(other, abs=1e-3) and unigram.decode(both[0]) == unigram.decode(both[1])


# ------------------------------------------------------------------------------------------- export


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


# ------------------------------------------------------------------------------------------- import


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
    differ = sum(a.tolist() != b.tolist() for a, b in zip(ours.encode_batch(lines), kept.encode_batch(lines)))
    assert differ <= (2 if name == "unigram" else 0)
    mask = "[MASK]" if name != "metaspace" else "<mask>"
    masked = list(masked_lines(WORDS, 200, mask, seed=1))
    differ = sum(ours.encode_with_masks(t).tolist() != kept.encode_with_masks(t).tolist() for t in masked)
    assert differ <= (1 if name == "unigram" else 0)


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


def test_an_extended_tokenizer_can_be_exported(exported, tmp_path):
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


def test_names_of_specials_are_cut_before_their_letters():
    assert spm_json._starts(["[MASK]", "</s>"]) == r"\[(?=MASK\])|</(?=s>)"
