# SPDX-License-Identifier: Apache-2.0
"""Tokenizers: training, specials, typed masks; against the libraries themselves."""

import json
import pickle

import numpy as np
import pytest
import sentencepiece
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import text as T
from ssl_jax.types import UserError

from .conftest import MANY_SCRIPTS, POEMS, byte_level_json, english

TYPED = "a [MASK] b[SEP] [CLS]<|endoftext|> <mask> <s></s> [PAD][UNK] <pad> <unk> x"


def test_text_never_becomes_a_special(tokenizer):
    ids = tokenizer.encode(TYPED).tolist()
    unknown = {tokenizer.specials.unk}
    assert not set(ids) & (tokenizer.specials.ids() - unknown)
    assert "MASK" in tokenizer.decode(ids).upper()
    assert tokenizer.specials.ids() <= tokenizer.undrawable


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b"])
def test_nothing_to_encode(bpe, wordpiece, text):
    for tokenizer in (bpe, wordpiece):
        assert tokenizer.encode(text).tolist() == tokenizer.encode_with_masks(text).tolist() == []
        assert tokenizer.encode_batch([text, text])[1].tolist() == []
        assert tokenizer.encode(text).dtype == np.int32


def test_batch_equals_one_by_one(tokenizer):
    texts = ["", TYPED, *MANY_SCRIPTS, "lone \ud800 surrogate"]
    for one, many in zip(map(tokenizer.encode, texts), tokenizer.encode_batch(texts, 2)):
        assert np.array_equal(one, many) and many.dtype == np.int32
    assert tokenizer.encode_batch([]) == []


def test_spm_is_sentencepiece(bpe):
    reference = sentencepiece.SentencePieceProcessor(model_proto=bpe.model_proto)
    for text in [*MANY_SCRIPTS, *english()[:3]]:
        assert bpe.encode(text).tolist() == reference.encode(text)
        assert bpe.decode(bpe.encode(text)) == reference.decode(reference.encode(text))
        assert bpe.pieces(bpe.encode(text)) == reference.encode(text, out_type=str)


GAPS = st.sampled_from(
    [" ", "  ", "\n", "\t", "\u3000", "\xa0", "\u200b", "\x1c", "\x0b", "\x85", " \u0301", "´", "▁"]
)
TOKENS = st.sampled_from(["the", "statement", "x" * 60, "naïve", "e\u0301", "…", "ﬁ", "\x00", "漢字", "👍🏽"])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(st.tuples(TOKENS, GAPS), max_size=12), max_size=5), st.booleans())
def test_word_by_word_is_the_whole_text(bpe, wordpiece, byte_level, texts, small):
    texts = ["".join(word + gap for word, gap in text) for text in texts]
    for tokenizer in (bpe, wordpiece, byte_level):
        check_word_by_word(tokenizer, texts, small)


def check_word_by_word(tokenizer, texts, small):
    words = tokenizer._words
    cache = T.word_cache.WordCache(words._encode, words._split, words._foreign)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(T.word_cache, "_MAX_WORDS", 3 if small else 100)
        patch.setattr(T.word_cache, "_WORTHWHILE", 1000)
        patch.setattr(T.word_cache, "_MOST_NEW", 1)
        for _ in range(2):
            found = cache.encode(texts, 1)
            if found is not None:
                parts = np.split(found[0], np.cumsum(found[1]))
                assert [p.tolist() for p in parts[:-1]] == [tokenizer.encode(text).tolist() for text in texts]
        assert len(cache._numbers) == cache._ends.size - 1 <= (3 if small else 100)


def test_word_by_word_where_it_is_exact(bpe, unigram, no_prefix):
    assert unigram._words is None and no_prefix._words is None
    assert bpe._words.encode(["床前明月光，疑是地上霜。床前明月光，疑是地上霜。"], 1) is None
    assert bpe._words.encode(["山 水 月"], 1) is None
    assert bpe._words.encode(["a a a a"], 1) is not None
    assert bpe._words.encode(["a a a a\x1c"], 1) is None


def test_tokenizers_pickle(bpe, wordpiece):
    for tokenizer in (bpe, wordpiece):
        again = pickle.loads(pickle.dumps(tokenizer))  # noqa: S301
        assert again.fingerprint == tokenizer.fingerprint
        assert np.array_equal(again.encode("The statement"), tokenizer.encode("The statement"))


def test_hf_is_tokenizers(wordpiece, byte_level, metaspace):
    for tokenizer in (wordpiece, byte_level, metaspace):
        reference = tokenizers.Tokenizer.from_str(tokenizer.tokenizer_json.decode())
        for text in [*MANY_SCRIPTS, *english()[:3]]:
            assert tokenizer.encode(text).tolist() == reference.encode(text, add_special_tokens=False).ids


def test_accents_and_vowel_signs_stay(bpe, wordpiece, byte_level):
    for tokenizer in (bpe, byte_level):
        for text in MANY_SCRIPTS[:-1]:
            if "»" not in text:
                decoded = tokenizer.decode(tokenizer.encode(text))
                assert decoded == bpe._plain.normalize(text).replace("▁", " ").strip() or decoded == text
    assert wordpiece._plain.normalizer.normalize_str("Größe naïve كِتَابٌ क्षत्रिय") == "größe naïve كِتَابٌ क्षत्रिय"
    stripped = T.wordpiece.bert({"[UNK]": 0}, lowercase=True, strip_accents=True)
    assert stripped.normalizer.normalize_str("naïve") == "naive"


def test_specials_of_a_trained_tokenizer(bpe, wordpiece):
    for tokenizer in (bpe, wordpiece):
        s = tokenizer.specials
        assert (s.pad, s.unk, s.cls, s.sep, s.mask) == (0, 1, 2, 3, 4)
        assert s.bos is not None and s.eos is not None
        assert tokenizer.pieces([2, 4, 3]) == ["[CLS]", "[MASK]", "[SEP]"]


def test_specials_of_a_tokenizer_json(byte_level, metaspace):
    end = byte_level.specials
    assert end.pad == end.bos == end.eos == 0 and end.mask is None and end.cls is None
    names = metaspace.pieces(range(5))
    s = metaspace.specials
    assert [names[i] for i in (s.cls, s.pad, s.sep, s.unk, s.mask)] == [
        "<s>",
        "<pad>",
        "</s>",
        "<unk>",
        "<mask>",
    ]
    with pytest.raises(UserError, match="no mask token"):
        byte_level.encode_with_masks("a [MASK]")


# ---------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    "config",
    [
        T.SentencePiece(vocab_size=500, sample_chars=40_000, character_coverage=0.99),
        T.SentencePiece(
            vocab_size=450, sample_chars=20_000, model=T.SpmModel.UNIGRAM, character_coverage=0.98
        ),
        T.WordPiece(vocab_size=500, sample_chars=40_000, alphabet=100),
    ],
    ids=["bpe", "unigram", "wordpiece"],
)
def test_training_is_deterministic(config, documents, tmp_path):
    for name in "ab":
        config.train(iter(documents), tmp_path / name / "tokenizer")
    first, second = ({p.name: p.read_bytes() for p in (tmp_path / n / "tokenizer").iterdir()} for n in "ab")
    assert first == second
    assert not any(str(tmp_path).encode() in data for data in first.values())
    assert (
        T.load(tmp_path / "a" / "tokenizer").fingerprint == T.load(tmp_path / "b" / "tokenizer").fingerprint
    )
    assert T.load(tmp_path / "a" / "tokenizer").vocab_size == config.vocab_size


@pytest.mark.parametrize("make", [T.SentencePiece, T.WordPiece])
def test_a_vocabulary_too_large_names_the_largest(make, tmp_path):
    lines = english()[0].split("\n")
    with pytest.raises(UserError, match=r"(\d+) is the largest that works") as caught:
        make(vocab_size=50_000).train(lines, tmp_path / "t")
    assert not (tmp_path / "t").exists()
    largest = int(str(caught.value).split(": ")[1].split()[0])
    make(vocab_size=largest).train(lines, tmp_path / "t")
    assert T.load(tmp_path / "t").vocab_size == largest


@pytest.mark.parametrize("make", [T.SentencePiece, T.WordPiece])
def test_a_vocabulary_too_small_names_the_smallest(make, tmp_path):
    with pytest.raises(UserError, match=r"\d+ is the smallest that works"):
        make(vocab_size=30).train(POEMS, tmp_path / "t")


def test_more_characters_than_pieces_leave_room_for_words_and_become_bytes(tmp_path):
    """A large alphabet in a small vocabulary: what was a refusal ("2048 is too small ...: 7886 works")."""
    rng = np.random.default_rng(0)
    common, rare = (np.arange(0x4E00, 0x4E00 + 300), np.arange(0x5200, 0x5200 + 2000))
    texts = ["".join(map(chr, [*rng.choice(common, 60), *rng.choice(rare, 3)])) for _ in range(2000)]
    T.SentencePiece(vocab_size=1000).train(texts, tmp_path / "t")
    tokenizer = T.load(tmp_path / "t")
    assert tokenizer.vocab_size == 1000
    for text in texts[:50]:
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text
        in_bytes = sum(piece.startswith("<0x") for piece in tokenizer.pieces(ids))
        assert in_bytes <= 9  # the three rare ones at most: each common character has a piece


def test_no_text_to_train_on(tmp_path):
    with pytest.raises(UserError, match="no text to train"):
        T.SentencePiece().train(["", " \n"], tmp_path / "t")


def test_the_sample_is_bounded_and_depends_on_the_stream_alone():
    texts = [f"line {i} " + "x" * (i % 50) for i in range(3000)]
    kept = T.sample.sample(texts, 10_000)
    assert 9_000 < sum(map(len, kept)) <= 10_000
    assert kept == T.sample.sample(iter(texts), 10_000)
    where = [int(line.split()[1]) for line in kept]
    assert where == sorted(where) and min(where) < 300 and max(where) > 2700
    assert T.sample.sample(texts, 10**9) == texts


def test_long_lines_are_cut_not_skipped():
    line = "word " * 5000
    cut = list(T.sample.lines(line))
    assert max(map(len, cut)) <= T.sample.LINE and " ".join(cut).split() == line.split()
    assert "".join(T.sample.lines("龍" * 5001)) == "龍" * 5001


# ------------------------------------------------------------------------------- files of other people


def test_bert_vocab(tmp_path):
    pieces = ["[PAD]", "[unused1]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "##s", "bark", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(pieces) + "\n", encoding="utf-8")
    T.WordPieceVocab(path=str(tmp_path / "vocab.txt"), lowercase=True).train([], tmp_path / "t")
    tokenizer = T.load(tmp_path / "t")
    assert tokenizer.encode("The dogs bark.").tolist() == [6, 7, 8, 9, 10]
    assert tokenizer.encode_with_masks("The [MASK] bark.").tolist() == [6, 5, 9, 10]
    assert tokenizer.undrawable == {0, 1, 2, 3, 4, 5}
    assert tokenizer.encode("[MASK]").tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [("a\nb\n", r"lacks \[PAD\] and \[UNK\]"), ("[PAD]\n[UNK]\na\na\n", "1 pieces appear twice")],
)
def test_bad_vocab(tmp_path, content, message):
    (tmp_path / "vocab.txt").write_text(content)
    with pytest.raises(UserError, match=message):
        T.WordPieceVocab(path=str(tmp_path / "vocab.txt")).train([], tmp_path / "t")


def test_bad_files(tmp_path, documents):
    path = tmp_path / "f"
    with pytest.raises(UserError, match="No such file"):
        T.TokenizerJson(path=str(path)).train([], tmp_path / "t")
    path.write_bytes(b"\xff\x00")
    with pytest.raises(UserError, match="not UTF-8 at byte 0"):
        T.WordPieceVocab(path=str(path)).train([], tmp_path / "t")
    path.write_text("{}")
    with pytest.raises(UserError, match=r"no tokenizer.json"):
        T.TokenizerJson(path=str(path)).train([], tmp_path / "t")
    config = json.loads(byte_level_json(documents[:3], path).read_text())
    config["added_tokens"][0]["content"] = "<odd>"
    config["model"]["vocab"]["<odd>"] = config["model"]["vocab"].pop("<|endoftext|>")
    path.write_text(json.dumps(config))
    with pytest.raises(UserError, match="no padding token"):
        T.TokenizerJson(path=str(path)).train([], tmp_path / "t")
    assert not (tmp_path / "t").exists()


def test_a_damaged_tokenizer_is_refused(tmp_path):
    config = T.SentencePiece(vocab_size=380, sample_chars=5_000, character_coverage=0.98)
    config.train(english()[:2], tmp_path / "t")
    data = bytearray((tmp_path / "t" / "spm.model").read_bytes())
    data[100] ^= 1
    (tmp_path / "t" / "spm.model").write_bytes(data)
    with pytest.raises(UserError, match="changed or damaged"):
        T.load(tmp_path / "t")
    with pytest.raises(UserError, match="no tokenizer"):
        T.load(tmp_path)


def test_a_name_that_merges_make_is_text(tmp_path):
    """ "<s>" that a BPE model builds from characters is a piece of text, not a special token."""
    pieces = ["<|endoftext|>", "<", "s", ">", "<s", "<s>"]
    model = {
        "type": "BPE",
        "vocab": {p: i for i, p in enumerate(pieces)},
        "merges": [["<", "s"], ["<s", ">"]],
    }
    config = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": None, "model": model}
    (tmp_path / "f").write_text(json.dumps(config))
    T.TokenizerJson(path=str(tmp_path / "f")).train([], tmp_path / "t")
    tokenizer = T.load(tmp_path / "t")
    assert tokenizer.encode("<s>").tolist() == [5]
    assert tokenizer.specials.cls is None and tokenizer.specials.bos == tokenizer.specials.pad == 0
