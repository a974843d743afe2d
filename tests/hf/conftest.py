# SPDX-License-Identifier: Apache-2.0
"""Tokenizers of every kind, trained on a few texts and exported once."""

from pathlib import Path

import pytest
import tokenizers

from ssl_jax import text as T
from ssl_jax.hf import tokenizer_check
from ssl_jax.hf.spm_proto import read_proto
from ssl_jax.hf.tokenizer import Template, export_tokenizer

from ..text.conftest import MANY_SCRIPTS, byte_level_json, english, metaspace_json

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


@pytest.fixture(scope="session")
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
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(tokenizer_check, "LINES", 200)
                export_tokenizer(
                    ours, root / name / "out", template=template, max_length=64, token_types=True
                )
            made[name] = T.load(ours), ours, root / name / "out"
        return made[name]

    return make


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
