# SPDX-License-Identifier: Apache-2.0
"""Windows over a context: what they hold, and that tokens and characters belong together in any script."""

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_jax.data import Outside, Windows
from ssl_jax.data.plan_windows import ELSEWHERE, characters, tokens_of
from ssl_jax.objectives.answers import most_context, spans
from ssl_jax.types import UserError
from tests.data.questions import KINDS, WORDS, record, table

SPACES = [" ", "  ", "\n", " \u200b ", "\u3000"]


@st.composite
def contexts(draw, most: int = 25):
    """(context, [(begin, end) of each word])"""
    text, places = draw(st.sampled_from(["", " ", "\n  "])), []
    for word in draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=most)):
        text += draw(st.sampled_from(SPACES)) if places else ""
        places.append((len(text), len(text) + len(word)))
        text += word
    return text + draw(st.sampled_from(["", " ", "\u200b"])), places


def visible(text: str) -> set[int]:
    return {i for i, c in enumerate(text) if unicodedata.category(c) not in ("Cc", "Cf", "Zs", "Zl", "Zp")}


@pytest.mark.parametrize("kind", KINDS)
@given(contexts())
def test_the_tokens_characters_are_the_text(kind, drawn):
    """Every visible character belongs to a token, no token begins or ends with an invisible one, and the
    order is the text's."""
    context, _ = drawn
    made = table([record(context)], kind)
    begins, ends = characters(context, made.offsets(0, 1))
    assert len(begins) == len(made.encoded(0)[1].tokens)
    assert (np.diff(begins) >= 0).all() and (np.diff(ends) >= 0).all()
    held = [range(b, e) for b, e in zip(begins, ends) if b < e]
    assert all({one[0], one[-1]} <= visible(context) for one in held)
    assert visible(context) <= {i for one in held for i in one}


@pytest.mark.parametrize("kind", KINDS)
@given(contexts(), st.data())
def test_an_answer_of_whole_words_comes_back_as_its_text(kind, drawn, data):
    context, places = drawn
    i, j = sorted(data.draw(st.tuples(*[st.integers(0, len(places) - 1)] * 2)))
    answer = places[i][0], places[j][1]
    begins, ends = characters(context, table([record(context)], kind).offsets(0, 1))
    first, last = tokens_of(answer, begins, ends)
    assert context[begins[first] : ends[last]] == context[slice(*answer)]


@pytest.mark.parametrize("kind", KINDS)
@given(contexts(), st.data())
def test_an_answer_within_words_is_held_by_the_fewest_tokens(kind, drawn, data):
    context, _ = drawn
    places = sorted(visible(context))
    begin, last = sorted(data.draw(st.tuples(*[st.sampled_from(places)] * 2)))
    begins, ends = characters(context, table([record(context)], kind).offsets(0, 1))
    touching = np.flatnonzero((begins < ends) & (begins <= last) & (ends > begin))
    found = tokens_of((begin, last + 1), begins, ends)
    assert begins[found[0]] <= begin and last < ends[found[1]]
    assert found[0] <= touching[0] and touching[-1] <= found[1]
    inside = range(found[0], found[1] + 1)  # what else is in it has no text of its own
    assert all(i in touching or begins[i] >= ends[i] for i in inside)


@given(contexts(60), st.integers(8, 30), st.integers(1, 40), st.integers(1, 3))
def test_windows_cover_the_context(drawn, length, stride, question):
    """Each token is in a window, at the hop said, and every span that fits counts in exactly one."""
    length += question
    made = table([record(drawn[0], question="the River flows?")])
    size = len(made.encoded(0)[1].tokens)
    plan = Windows(length=length, stride=stride, question=question).open(made, 0, shuffle=False)
    windows = [plan[r].fields["window"] for r in range(plan.num_rows)]
    room = length - 3 - question
    assert [w.start for w in windows] == [i * min(stride, room) for i in range(len(windows))]
    assert {i for w in windows for i in range(w.start, w.stop)} == set(range(size))
    assert [w.stop == size for w in windows] == [False] * (len(windows) - 1) + [True]
    assert all(w.stop - w.start == room for w in windows[:-1])
    counted: dict[tuple[int, int], int] = {}
    fits = set()
    for i, window in enumerate(windows):
        first, last = spans(len(window.begins), 5)
        most = most_context(windows, i, first, last)
        for a, b, here in zip(first + window.start, last + window.start, most):
            fits.add((a, b))
            counted[a, b] = counted.get((a, b), 0) + here
    assert counted == dict.fromkeys(fits, 1)
    assert {(t, t) for t in range(size)} <= fits


def test_windows_begin_where_berts_do():
    """run_squad.py: 0, stride, ... up to the one that reaches the end."""
    plan = Windows(length=384, stride=128, question=64)
    assert plan.starts(10, 371).tolist() == [0]
    assert plan.starts(10, 372).tolist() == [0, 128]
    assert plan.starts(64, 700).tolist() == [0, 128, 256, 384]


def test_a_stride_longer_than_a_window_skips_nothing():
    """transformers#2548: with a hop beyond the window tokens were never read."""
    assert Windows(length=20, stride=100, question=7).starts(7, 35).tolist() == [0, 10, 20, 30]


CONTEXT = " ".join(f"word{i}" for i in range(40))


def rows_of(plan: Windows, answer, shuffle: bool):
    opened = plan.open(table([record(CONTEXT, answer)]), 0, shuffle=shuffle)
    return [opened[r] for r in range(opened.num_rows)], opened


@pytest.mark.parametrize("answer", ["word0", "word17 word18", "word39"])
@pytest.mark.parametrize("outside", Outside)
def test_the_answer_in_its_windows_and_outside(answer, outside):
    """At the edges of windows too; what a window without it says depends on the recipe and on the use."""
    place = CONTEXT.index(answer), CONTEXT.index(answer) + len(answer)
    plan = Windows(length=40, stride=7, question=8, outside=outside)
    trained, opened = rows_of(plan, place, True)
    measured, _ = rows_of(plan, place, False)
    held = [row for row in measured if row.label not in (ELSEWHERE, ())]
    assert 0 < len(held) < len(measured)
    for row in held:
        window, (first, last) = row.fields["window"], row.label
        assert CONTEXT[window.begins[first] : window.ends[last]] == answer
    for row in measured:
        window = row.fields["window"]
        whole = window.begins[0] <= place[0] and place[1] <= window.ends[-1]
        assert (row.label == (ELSEWHERE if outside is Outside.DROP else ())) != whole
    assert len(trained) == (len(held) if outside is Outside.DROP else len(measured))
    said = {Outside.DROP: "dropped", Outside.NULL: "pointed to [CLS]"}[outside]
    assert f"{len(measured) - len(held)} without their question's answer are {said}" in opened.report()


@pytest.mark.parametrize("answer", [(), None])
def test_windows_of_a_question_without_an_answer_all_say_so(answer):
    for shuffle in (True, False):
        rows, _ = rows_of(Windows(length=40, stride=7, question=8), answer, shuffle)
        assert len(rows) > 1 and [row.label for row in rows] == [answer] * len(rows)


def test_a_long_question_is_cut_and_the_rows_say_what_they_hold():
    made = table([record(CONTEXT, (0, 5), question="the River flows, 1,000 miles. (south)?")])
    plan = Windows(length=30, stride=9, question=5).open(made, 0, shuffle=False)
    question, context = made.encoded(0)
    for r in range(plan.num_rows):
        row, window = plan[r], plan[r].fields["window"]
        np.testing.assert_array_equal(row.parts[0].tokens, question.tokens[:5])
        np.testing.assert_array_equal(row.parts[1].tokens, context.tokens[window.start : window.stop])
        assert window.first == 7 and window.context == CONTEXT and row.fields["id"] == "q"
    assert plan.num_tokens == sum(3 + sum(len(p.tokens) for p in plan[r].parts) for r in range(plan.num_rows))
    assert "1 questions are cut" in plan.report()


@pytest.mark.parametrize(
    ("plan", "context", "said"),
    [
        (Windows(length=67, question=64), "a b", "make length 68 or more"),
        (Windows(length=20, question=64), "a b", "no room for the context"),
        (Windows(stride=0), "a b", "1 token or more"),
        (Windows(), "\u200b\u200b", "example 1: its context has no token"),
        (Windows(length=12, stride=4, question=4), "x " * 30 + "word " * 30, "there is no example"),
    ],
    ids=["no room", "longer question", "no stride", "invisible", "answer longer than any window"],
)
def test_what_cannot_be_a_window(plan, context, said):
    with pytest.raises(UserError, match=said):
        plan.open(table([record(context, (0, len(context.rstrip())))], "wordpiece"), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_long_context_has_the_same_tokens_as_characters(kind):
    """It is tokenized in chunks, and its characters come from the whole: the two must not drift apart."""
    words = np.random.default_rng(0).choice(WORDS, 8000)
    context = " ".join(words)
    place = len(context) - len(words[-1]), len(context)
    plan = Windows(length=400, stride=300, question=8).open(table([record(context, place)], kind), 0)
    (row,) = [plan[r] for r in range(plan.num_rows)]
    window = row.fields["window"]
    assert len(window.begins) == len(row.parts[1].tokens) and window.start > 10_000
    assert context[window.begins[row.label[0]] : window.ends[row.label[1]]] == words[-1]
