# SPDX-License-Identifier: Apache-2.0
"""Tokenizers for these tests, trained once on text every Python installation carries."""

import pydoc_data.topics
from pathlib import Path

import pytest

from ssl_jax import text as T

POEMS = [
    "床前明月光，疑是地上霜。舉頭望明月，低頭思故鄉。",
    "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。",
    "白日依山盡，黃河入海流。欲窮千里目，更上一層樓。",
    "千山鳥飛絕，萬徑人蹤滅。孤舟蓑笠翁，獨釣寒江雪。",
]
MANY_SCRIPTS = [
    *POEMS,
    "كِتَابٌ جَدِيدٌ؟ نعم، قَرَأْتُهُ أمس. مُحَمَّدٌ كَتَبَ الدَّرْسَ۔",
    "क्षत्रिय ज्ञान विद्या। मातृभाषा संस्कृत है॥",
    "สวัสดีครับ ผมชื่อสมชาย เพื่อนของผมอยู่ที่เชียงใหม่",
    "བོད་ཡིག་སློབ། བཀྲ་ཤིས་བདེ་ལེགས།",
    "今日はカタカナーとひらがなを読みます。「はい」と言った！",
    "Größe, naïve café: «Où est-il?» — Он сказал: «Да!» Это всё.",
    "👩‍👩‍👧 went to 🇫🇷🇩🇪 and said 👍🏽! Cost: 3.14€, or 1,000 — don't ask…",
]


def english() -> list[str]:
    """About 60 documents, 140 kB."""
    topics = pydoc_data.topics.topics
    return [topics[name] for name in sorted(topics)][:60]


@pytest.fixture(scope="session")
def documents() -> list[str]:
    return [*english(), *MANY_SCRIPTS]


def _train(config, documents, directory: Path):
    config.train(documents, directory)
    return T.load(directory)


@pytest.fixture(scope="session")
def bpe(documents, tmp_path_factory) -> T.SpmTokenizer:
    config = T.SentencePiece(vocab_size=900, sample_chars=200_000, character_coverage=0.999)
    return _train(config, documents, tmp_path_factory.mktemp("bpe") / "tokenizer")


@pytest.fixture(scope="session")
def unigram(documents, tmp_path_factory) -> T.SpmTokenizer:
    config = T.SentencePiece(
        vocab_size=600,
        model=T.SpmModel.UNIGRAM,
        byte_fallback=False,
        normalization="identity",
        collapse_spaces=False,
        sample_chars=100_000,
        character_coverage=0.99,
    )
    return _train(config, documents, tmp_path_factory.mktemp("unigram") / "tokenizer")


@pytest.fixture(scope="session")
def no_prefix(documents, tmp_path_factory) -> T.SpmTokenizer:
    config = T.SentencePiece(
        vocab_size=800, dummy_prefix=False, sample_chars=100_000, character_coverage=0.999
    )
    return _train(config, documents, tmp_path_factory.mktemp("no_prefix") / "tokenizer")


@pytest.fixture(scope="session")
def wordpiece(documents, tmp_path_factory):
    config = T.WordPiece(vocab_size=900, lowercase=True, sample_chars=200_000, alphabet=250)
    return _train(config, documents, tmp_path_factory.mktemp("wordpiece") / "tokenizer")


def byte_level_json(documents: list[str], path: Path) -> Path:
    """A GPT-2-like tokenizer.json."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        show_progress=False,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(str(path))
    return path


def metaspace_json(documents: list[str], path: Path) -> Path:
    """A unigram tokenizer.json with its specials among the model's own pieces, as XLM-R's has."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=600,
        show_progress=False,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        unk_token="<unk>",
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def byte_level(documents, tmp_path_factory):
    directory = tmp_path_factory.mktemp("byte_level")
    path = byte_level_json(documents, directory / "gpt2.json")
    return _train(T.TokenizerJson(path=str(path)), [], directory / "tokenizer")


@pytest.fixture(scope="session")
def metaspace(documents, tmp_path_factory):
    directory = tmp_path_factory.mktemp("metaspace")
    path = metaspace_json([d[:1000] for d in documents], directory / "xlmr.json")
    return _train(T.TokenizerJson(path=str(path)), [], directory / "tokenizer")


KINDS = ("bpe", "unigram", "no_prefix", "wordpiece", "byte_level", "metaspace")


@pytest.fixture(params=KINDS)
def tokenizer(request):
    """Every kind of tokenizer in turn."""
    return request.getfixturevalue(request.param)
