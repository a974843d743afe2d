# SPDX-License-Identifier: Apache-2.0
"""Words and sentences of many scripts."""

import itertools
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssl_jax import text as T
from ssl_jax.types import UserError


def words(text: str, rule=None) -> str:
    """The text with a bar before every word but the first, white space shown as it is."""
    starts = (rule or T.UnicodeWords()).starts(text)
    assert starts.shape == (len(text),) and starts.dtype == bool
    return "".join("|" * bool(s and i) + c for i, (c, s) in enumerate(zip(text, starts)))


@pytest.mark.parametrize(
    "expected",
    [
        "don't |stop|: |3.14|, |1,000.5 |a|,|b |e.g|. |snake_case |H2O",
        "l·l |U.S|. |x|.|.|.",
        "Größe |nai\u0308ve |\u0301|x",
        "床|前|明|月|光|，|疑|是|地|上|霜|。",
        "今|日|は|カタカナー|とひらがなを|読|みます|。",
        "한국어 |문장|.",
        "བོད་|ཡིག|། |བདེ་|ལེགས|།",
        "मातृभाषा |क्षत्रिय|। |३.१४",
        "مُحَمَّدٌ |كَتَبَ|؟ |می\u200cروم",
        "ส|วั|ส|ดี|เพื่|อ|น",
        "ភា|សា|ខ្មែ|រ",
        "မြန်|မာ|ဘာ|သာ",
        "👩\u200d👩\u200d👧 |👍🏽|! |❤️|x",
        "שָׁלוֹם |צה״ל",
        "a\u200b|b",
    ],
)
def test_words(expected):
    assert words(expected.replace("|", "")) == expected


TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from("a1'., \n漢\u0301\u200dกเ་"), max_size=60
)


@settings(max_examples=200, deadline=None)
@given(TEXT, TEXT)
def test_laws_of_words(a, b):
    starts = T.UnicodeWords().starts(a)
    for i, char in enumerate(a):
        if char.isspace():
            assert not starts[i]
        elif i == 0 or a[i - 1].isspace():
            assert starts[i]
        elif unicodedata.category(char)[0] == "M":
            assert not starts[i]
    whole = T.UnicodeWords().starts(a + " " + b)
    assert np.array_equal(whole, np.concatenate([starts, [False], T.UnicodeWords().starts(b)]))


def test_regex_words():
    assert words("a-b c?! d", T.RegexWords(pattern=r"[a-z]-[a-z]|\w")) == "a-b |c|?! |d"
    assert words("ACGTAC", T.RegexWords(pattern="...")) == "ACG|TAC"
    with pytest.raises(UserError, match=r"text.words.pattern"):
        T.RegexWords(pattern="(")


def sentences(text: str, rule=None) -> list[str]:
    spans = (rule or T.UnicodeSentences()).split(text)
    return [text[a:b] for a, b in spans]


@pytest.mark.parametrize(
    "expected",
    [
        ["Mr. Smith went to Washington.", "He met J. P. Morgan (see No. 5).", "No.", "It is."],
        ['"Really?" he asked.', '"Yes!"', "She left...", "Then U.S. troops came at 3.14 p.m. sharp."],
        ["It was I.", "Who?!", "(Nobody.)", "See e.g. this one, i.e. that."],
        ["床前明月光，疑是地上霜。", "「低頭？」", "思故鄉！！", "他說：「好。」", "完"],
        ["नमस्ते।", "कैसे हैं॥", "ठीक"],
        ["مرحبا؟", "نعم۔", "لا."],
        ["བོད་ཡིག།", "བདེ་ལེགས།"],
        ["สวัสดีครับ", "ผมชื่อสมชาย"],
        ["Он сказал: «Да!»", "Потом ушёл.", "И всё…"],
        ["ሰላም።", "ደህና።"],
    ],
)
def test_sentences(expected):
    apart = " ".join(expected)
    assert sentences(apart) == expected
    assert sentences(f"  {apart}\n\n") == expected


def test_sentences_without_white_space():
    assert sentences("明月。故鄉！（好？）完") == ["明月。", "故鄉！", "（好？）", "完"]


def test_line_breaks():
    assert sentences("Chapter\nTwo\n \nIt began\nhere. So") == ["Chapter\nTwo", "It began\nhere.", "So"]
    by_line = T.UnicodeSentences(line_breaks=True)
    assert sentences("One line\nTwo. Three\n\nFour", by_line) == ["One line", "Two.", "Three", "Four"]
    assert sentences("a, b; c", T.RegexSentences(pattern="[,;]")) == ["a,", "b;", "c"]


def test_more_abbreviations():
    assert sentences("See Abt. Two.") == ["See Abt.", "Two."]
    assert sentences("See Abt. Two.", T.UnicodeSentences(abbreviations=("abt",))) == ["See Abt. Two."]


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from("aB.!?\"' \n。」।กT1…\u0301\x00"), max_size=60))
def test_laws_of_sentences(text):
    for rule in (
        T.UnicodeSentences(),
        T.UnicodeSentences(line_breaks=True),
        T.RegexSentences(pattern=r"\n|\."),
    ):
        spans = rule.split(text)
        assert all(a < b and not text[a].isspace() and not text[b - 1].isspace() for a, b in spans)
        assert all(b <= c for (_, b), (c, _) in itertools.pairwise(spans))
        assert "".join("".join(text[a:b] for a, b in spans).split()) == "".join(text.split())


def test_speed_is_linear():
    for text in [" " * 200_000, "." * 200_000, "\n " * 100_000, '."' * 100_000, "a. " * 100_000]:
        assert len(T.UnicodeSentences().split(text)) <= 100_000
