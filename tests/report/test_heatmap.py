# SPDX-License-Identifier: Apache-2.0
"""The picture of one word in many sentences: valid XML, text as text, colours by value; PNG and its fonts."""

from xml.etree import ElementTree

import numpy as np
import pytest

from ssl_jax.report import png as P
from ssl_jax.report.heatmap import order, place, svg
from ssl_jax.types import UserError

TEXTS = ["by the river <bank> & \x00 mud", "the\nbank lent", "苹果 bank 👍🏽", "x" * 90 + "bank" + "y" * 90]
PLACES = [place(i + 1, t, t.index("bank"), t.index("bank") + 4) for i, t in enumerate(TEXTS)]
COSINES = np.array([[1, 0.9, 0.2, 0.5], [0.9, 1, 0.3, 0.6], [0.2, 0.3, 1, 0.4], [0.5, 0.6, 0.4, 1]])
SVG = "{http://www.w3.org/2000/svg}"


def drawn() -> ElementTree.Element:
    return ElementTree.fromstring(svg(PLACES, COSINES, np.ones((4, 4)), "“bank” & <others>"))


def test_it_is_xml_with_the_words_as_text():
    picture = drawn()
    texts = ["".join(node.itertext()) for node in picture.iter(f"{SVG}text")]
    assert texts[0] == "“bank” & <others>"
    assert "by the river <" in texts and "bank> & \ufffd mud" in texts and "苹果 " in texts
    assert "bank 👍🏽" in texts and "the " in texts  # a line break is a space
    assert "…" + "x" * 24 in texts and "bank" + "y" * 24 + "…" in texts
    words = [node.text for node in picture.iter(f"{SVG}tspan")]
    assert words == ["bank"] * 4
    assert "0.20" in texts and "contextual" in texts and "static (token table)" in texts


def test_cells_are_coloured_by_their_value():
    cells = [node for node in drawn().iter(f"{SVG}rect") if node.get("width") == "40"]
    assert len(cells) == 2 * 16
    light = [int(node.get("fill")[1:3], 16) for node in cells]
    assert np.array_equal(
        np.argsort(-np.array(light[:16]), kind="stable"), np.argsort(COSINES.ravel(), kind="stable")
    )
    assert set(light[16:]) == {min(light)}  # one and the same vector


def test_places_stay_apart_and_inside_the_picture():
    picture = drawn()
    width, height = (float(n) for n in picture.get("viewBox").split()[2:])
    cells = [node for node in picture.iter(f"{SVG}rect") if node.get("width") == "40"]
    corners = {(float(node.get("x")), float(node.get("y"))) for node in cells}
    assert len(corners) == 32 and all(x + 40 <= width and y + 40 <= height for x, y in corners)


def test_two_senses_lie_apart_in_the_order():
    draw = np.random.default_rng(0)
    sense = np.array([0, 1, 0, 1, 1, 0, 0, 1])
    vectors = sense[:, None] * np.ones(5) * 3 + draw.standard_normal((8, 5)) * 0.1
    placed = sense[order(vectors)]
    assert (np.diff(placed) != 0).sum() == 1 and placed[0] == sense[0]
    assert order(np.ones((3, 4))).tolist() == [0, 1, 2]
    assert order(np.ones((1, 4))).tolist() == [0]


def test_png_has_the_picture_and_names_letters_without_a_font():
    pytest.importorskip("resvg_py")
    pytest.importorskip("fontTools")
    picture = svg([place(1, "bank \U0010fffd", 0, 4)] * 2, np.ones((2, 2)), np.ones((2, 2)), "a title")
    found = P.png(picture)
    assert found.data.startswith(b"\x89PNG\r\n\x1a\n") and len(found.data) > 2000
    assert "\U0010fffd" in found.missing
    wide = int.from_bytes(found.data[16:20], "big")
    assert wide == pytest.approx(2 * float(ElementTree.fromstring(picture).get("width")), abs=1)


def test_without_fonts_every_letter_is_missing(monkeypatch):
    pytest.importorskip("resvg_py")
    pytest.importorskip("fontTools")
    monkeypatch.setattr(P, "_folders", list)
    found = P.png(svg(PLACES[:2], np.ones((2, 2)), np.ones((2, 2)), "z"))
    assert set(found.missing) >= set("z01") and found.data.startswith(b"\x89PNG")


def test_a_missing_extra_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(UserError, match=r"pip install 'ssl_jax\[plot\]'"):
        P.png(svg(PLACES, COSINES, COSINES, ""))
