# SPDX-License-Identifier: Apache-2.0
"""Exact match, F1 and the threshold against the official scripts' definitions, written down anew."""

import random
import re
import string
import unicodedata

import numpy as np
import pytest

from ssl_jax.tasks.squad_score import AnswerWords, best_threshold, exact, f1, f1_or_null

SPACES, CHARACTERS = AnswerWords.SPACES, AnswerWords.CHARACTERS
PLAIN = ("", " ", "\n\t", "aa", "a a a", "b b", "b", "x y x", "\u3000", "\xa0", "\u200b", "SS", "ss")
ARTICLES = ("the", "The", "a", "A.", "an", "theatre", "banana", "another", "a-n", "the-the", "a's", "(the)")
MARKED = ("U.S.", "don't", "1,000", "1000", "$5", "!", "!!!", "_", "a_b", "`", "“quoted”", "–", "a–b", "’s")
FOREIGN = (
    "é",
    "E\u0301",
    "ǅ",
    "ß",
    "İ",
    "i̇",
    "¿",
    "…",
    "。",
    "，",
    "苹果",
    "蘋果 a",
    "北京の",
    "ｶﾞ",
    "𠀀",
    "👩\u200d👧",
)
ADVERSARIAL = (*PLAIN, *ARTICLES, *MARKED, *FOREIGN)


def cases(count: int = 1000) -> list[tuple[str, str]]:
    random_ = random.Random(0)

    def text() -> str:
        words = random_.choices(ADVERSARIAL, k=random_.randint(0, 5))
        return random_.choice(["", " ", "  "]).join(words) if random_.random() < 0.5 else " ".join(words)

    made = [(text(), text()) for _ in range(count // 2)]
    for _ in range(count - len(made)):  # and nearly equal ones
        gold = text()
        words = gold.split(" ")
        random_.shuffle(words)
        made.append((" ".join(words[: random_.randint(0, len(words))]).swapcase(), gold))
    return made


def normal(text: str) -> str:
    """evaluate-v1.1.py and evaluate-v2.0.py: lower case; no ASCII punctuation; no articles; single spaces."""
    text = text.lower().translate({ord(c): None for c in string.punctuation})
    text = re.sub(r"\w+", lambda word: " " if word[0] in ("a", "an", "the") else word[0], text)
    return " ".join(text.split())


def overlap(predicted: str, gold: str) -> float:
    """Words are crossed out of the gold answer as they are met."""
    words, left = predicted.split(), gold.split()
    same = 0
    for word in words:
        if word in left:
            left.remove(word)
            same += 1
    if not same:
        return 0.0
    return (
        2 * (same / len(words)) * (same / len(gold.split())) / (same / len(words) + same / len(gold.split()))
    )


def test_exact_match_and_f1_equal_the_official_definition():
    """Version 1.1's F1 of two answers without a word is 0; 2.0's is 1."""
    seen = set()
    for predicted, gold in cases():
        ours = SPACES.of(predicted), SPACES.of(gold)
        theirs = normal(predicted), normal(gold)
        assert exact(*ours) == (theirs[0] == theirs[1]), (predicted, gold)
        assert f1(*ours) == pytest.approx(overlap(*theirs), abs=1e-12), (predicted, gold)
        empty = not theirs[0] or not theirs[1]
        version2 = float(theirs[0] == theirs[1]) if empty else overlap(*theirs)
        assert f1_or_null(*ours) == pytest.approx(version2, abs=1e-12), (predicted, gold)
        seen.add((exact(*ours), round(version2, 1), empty))
    assert len(seen) > 10, "the cases are all alike"


@pytest.mark.parametrize(
    ("predicted", "gold", "em", "f"),
    [
        ("The Norman's", "normans", 1, 1),
        ("a theatre", "theatre", 1, 1),
        ("a–b", "b", 0, 0),  # the dash is no ASCII punctuation and no white space: "–b"
        ("“x”", "x", 0, 0),  # nor are these quotes
        ("x x y", "x y y", 0, 2 / 3),
        ("the", "a", 1, 0),
    ],
)
def test_by_hand(predicted, gold, em, f):
    ours = SPACES.of(predicted), SPACES.of(gold)
    assert exact(*ours) == em and f1(*ours) == pytest.approx(f)


def characters(text: str) -> list[str]:
    """Walks the text as MLQA's script segments Chinese."""
    words, run = [], ""
    for char in text.lower():
        name = unicodedata.name(char, "")
        if char in string.punctuation or unicodedata.category(char).startswith("P"):
            continue
        alone = name.startswith(("CJK ", "HIRAGANA", "KATAKANA", "HALFWIDTH KATAKANA"))
        if alone or char.isspace():
            words += [run] * bool(run) + [char] * alone
            run = ""
        else:
            run += char
    return words + [run] * bool(run)


def test_words_of_chinese_are_its_characters():
    for pair in cases():
        for text in pair:
            assert CHARACTERS.of(text) == characters(text), text
    assert CHARACTERS.of("《红楼梦》，1791年 the Dream") == ["红", "楼", "梦", "1791", "年", "the", "dream"]
    assert f1(CHARACTERS.of("曹雪芹"), CHARACTERS.of("作者曹雪芹。")) == pytest.approx(2 * 0.6 / 1.6)
    assert exact(CHARACTERS.of("308 分"), CHARACTERS.of("308分")) == 1
    assert f1(SPACES.of("曹雪芹"), SPACES.of("作者曹雪芹")) == 0  # what the official script gives


def test_the_threshold_is_the_best_of_all():
    """Against trying every one: below, between and above all odds."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(1, 12))
        odds = rng.normal(size=count) * 3
        if seed % 2:
            odds = odds.round()  # ties
        answered, silent = rng.random(count).round(1), rng.integers(0, 2, count).astype(float)
        score = lambda t: np.where(odds > t, silent, answered).mean()  # noqa: B023
        threshold = best_threshold(odds, answered, silent)
        every = [odds.min() - 1, odds.max() + 1, *odds, *(odds + 1e-9), *(odds - 1e-9)]
        assert score(threshold) == pytest.approx(max(map(score, every)), abs=1e-9)
        assert np.isfinite(threshold)


def test_of_equally_good_thresholds_the_one_nearest_zero():
    odds = [-4.0, 2.0, 6.0]
    assert best_threshold(odds, [1, 1, 1], [1, 1, 1]) == -1.0  # all are equally good: halfway from -4 to 2
    assert best_threshold(odds, [1, 1, 1], [0, 0, 0]) == 7.0  # 1 above the highest: all are answered
    assert best_threshold(odds, [0, 0, 0], [1, 1, 1]) == -5.0
    assert best_threshold(odds, [1, 0, 0], [0, 0, 1]) == -1.0  # from -4 to 6
    assert best_threshold([2.0], [1], [0]) == 3.0
