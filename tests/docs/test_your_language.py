# SPDX-License-Identifier: Apache-2.0
"""docs/your-language.md: its files, commands and outputs are what happens, in the order of the page."""

import doctest
from pathlib import Path

import pytest

from tests.docs.pages import Page

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "your-language.md")


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return PAGE.ran(tmp_path_factory.mktemp("page"), "make_texts.py")


def test_every_command_says_what_the_page_says(ran):
    PAGE.check(ran)
    assert len(ran) > 5


def test_python_at_the_prompt_gives_what_the_page_shows():
    snippets = [body for kind, _, body in PAGE.blocks if kind == "python" and body.startswith(">>>")]
    assert snippets
    for body in snippets:
        test = doctest.DocTestParser().get_doctest(body, {}, "your-language.md", None, 0)
        said: list[str] = []
        failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        assert tried and not failed, "".join(said)


def test_what_the_page_says_of_normalization():
    """The table of section 4, without training: sentencepiece's own rules."""
    import sentencepiece

    def normal(rule: str, text: str) -> str:
        normalizer = sentencepiece.SentencePieceNormalizer(
            rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False
        )
        return normalizer.normalize(text)

    for text, result in {
        "春，夏：秋！冬。": "春,夏:秋!冬。",
        "Ａ１": "A1",
        "ｶﾞ": "ガ",
        "می\u200cخواهم": "می خواهم",
        "น้\u0e33": "น้\u0e4d\u0e32",
        "\u0e99\u0ec9\u0eb3": "\u0e99\u0ec9\u0ecd\u0eb2",
        "ﻻ": "لا",
        "a\nb\tc": "a b c",
        "\u0958िला é": "क\u093cिला é",
    }.items():
        assert normal("nmt_nfkc", text) == result
        assert normal("identity", text) == text
    assert normal("nfkc", "می\u200cخواهم") == "می\u200cخواهم"
    assert normal("nfkc", "a\nb\tc") == "a\nb\tc"


def test_zero_width_spaces_are_word_boundaries():
    from ssl_jax.text import UnicodeWords

    starts = UnicodeWords().starts("ฉัน\u200bกินข้าว")
    assert starts[4] and not starts[3]
