# SPDX-License-Identifier: Apache-2.0
"""N-best answers against every span looked at one by one, in plain Python."""

import math

import numpy as np
import pytest

from ssl_jax.data.plan_windows import Window
from ssl_jax.objectives.answers import Answer, find, probabilities, questions
from ssl_jax.types import Row

LENGTH = 24
CONTEXT = "a b a c  d a b\u200b 👩 a b e a"


def characters(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Tokens of CONTEXT: a character each, or several of one (bytes), or one without visible text."""
    tokens = []
    for i, char in enumerate(CONTEXT):
        if not char.isspace() and char != "\u200b":
            tokens += [(i, i + 1)] * int(rng.integers(1, 3))
        elif rng.random() < 0.2:
            tokens.append((i + 1, i))
    begins, ends = np.array(tokens, np.int32).T
    return np.maximum.accumulate(begins), np.maximum.accumulate(ends)


def windows(rng: np.random.Generator) -> list[Window]:
    begins, ends = characters(rng)
    room, hop, question = int(rng.integers(3, 16)), int(rng.integers(1, 8)), int(rng.integers(1, 5))
    out, start = [], 0
    while True:
        stop = min(start + room, len(begins))
        out.append(Window(0, CONTEXT, start, question, begins[start:stop], ends[start:stop]))
        if stop == len(begins):
            return out
        start += min(hop, room)


def brute_force(found_in: list[Window], start, end, n_best: int, max_tokens: int) -> list[Answer]:
    """All (window, first, last), each span in the window where it has most context."""
    places: dict[tuple[int, int], list[tuple[float, int]]] = {}
    for w, window in enumerate(found_in):
        size = len(window.begins)
        for first in range(size):
            for last in range(first, min(first + max_tokens, size)):
                context = min(first, size - 1 - last) + 0.01 * size
                places.setdefault((window.start + first, window.start + last), []).append((context, -w))
    scored = []
    for (first, last), owners in places.items():
        w = -max(owners)[1]
        window = found_in[w]
        i, j = first - window.start, last - window.start
        if window.begins[i] < window.ends[j]:
            logits = float(start[w][window.question + 2 + i]), float(end[w][window.question + 2 + j])
            scored.append((-sum(logits), first, last, int(window.begins[i]), int(window.ends[j]), logits))
    best: dict[str, Answer] = {}
    for _, _, _, begin, stop, logits in sorted(scored):
        text = CONTEXT[begin:stop]
        if text not in best:
            best[text] = Answer(text, begin, stop, *logits)
    return list(best.values())[:n_best]


@pytest.mark.parametrize("coarse", [False, True], ids=["random", "many equal scores"])
def test_n_best_equals_brute_force(coarse):
    for seed in range(60):
        rng = np.random.default_rng([seed, coarse])
        asked = windows(rng)
        start, end = rng.normal(size=(2, len(asked), LENGTH)).astype(np.float32)
        if coarse:
            start, end = start.round(), end.round()
        n_best, max_tokens = int(rng.integers(1, 40)), int(rng.integers(1, 12))
        found = find(asked, start, end, n_best=n_best, max_tokens=max_tokens)
        assert list(found.best) == brute_force(asked, start, end, n_best, max_tokens)
        nulls = [float(s[0]) + float(e[0]) for s, e in zip(start, end)]
        assert found.null.score == min(nulls)
        assert found.null_odds == min(nulls) - found.best[0].score


def test_a_span_between_the_middles_of_two_windows_is_found():
    """Its first token has most context in one window, its last in the other; a filter on each loses it."""
    begins = np.arange(0, 24, 2, dtype=np.int32)
    text = "abcdefghijkl"
    context = " ".join(text)
    asked = [Window(0, context, a, 1, begins[a : a + 8], begins[a : a + 8] + 1) for a in (0, 4)]
    start, end = np.zeros((2, 2, LENGTH), np.float32)
    for w, window in enumerate(asked):
        start[w, window.first + 5 - window.start] = end[w, window.first + 6 - window.start] = 5
    best = find(asked, start, end, n_best=1, max_tokens=3).best[0]
    assert (best.text, best.score) == ("f g", 10)


def test_where_every_span_says_nothing_the_answer_is_still_text():
    """bert#476: a crash where all of the n best were the null answer."""
    asked = windows(np.random.default_rng(0))
    start, end = np.zeros((2, len(asked), LENGTH), np.float32)
    start[:, 0] = end[:, 0] = 100.0
    found = find(asked, start, end, n_best=20, max_tokens=1)
    assert found.best and all(answer.text.strip() for answer in found.best)
    assert found.null_odds == 200.0


def test_without_a_visible_token_there_is_no_answer():
    nothing = Window(0, "\u200b", 0, 1, np.array([1], np.int32), np.array([0], np.int32))
    found = find([nothing], *np.zeros((2, 1, LENGTH), np.float32), n_best=3, max_tokens=3)
    assert found.best == () and math.isfinite(found.null_odds) and found.null_odds > 1e6
    assert probabilities(found.best).size == 0


def test_probabilities_are_a_softmax_of_the_scores():
    answers = [Answer("a", 0, 1, 1000.0, 1.0), Answer("b", 1, 2, 1000.0, 0.0)]
    np.testing.assert_allclose(probabilities(answers), [math.e / (math.e + 1), 1 / (math.e + 1)])


def test_rows_of_a_question_lie_together():
    empty = np.zeros(1, np.int32)
    rows = [
        Row(i, (), fields={"window": Window(n, "", 0, 1, empty, empty)}) for i, n in enumerate([0, 1, 1, 5])
    ]
    found = [(row.id, where) for row, where in questions(rows)]
    assert found == [(0, slice(0, 1)), (1, slice(1, 3)), (3, slice(3, 4))]
