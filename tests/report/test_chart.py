# SPDX-License-Identifier: Apache-2.0
"""Charts: valid XML, text as text, every point inside its panel, nothing that isn't finite."""

import math
import re
from xml.etree import ElementTree

from ssl_jax.report.chart import Panel, Series, svg

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*panels: Panel, **size):
    return ElementTree.fromstring(svg(panels, **size))


def test_names_are_text_and_escaped():
    root = drawn(Panel("dev <f1> & loss", [Series("from 苹果 & co", [(0, 1), (1, 2)])]))
    texts = ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]
    assert "dev <f1> & loss" in texts and "from 苹果 & co" in texts


def test_lines_and_bands_lie_inside_their_panel():
    wavy = [(i, math.sin(i)) for i in range(50)]
    band = [(x, y - 0.5, y + 0.5) for x, y in wavy]
    root = drawn(
        *[Panel(str(i), [Series("a", wavy, band)]) for i in range(4)], width=300, height=200, columns=2
    )
    assert root.get("viewBox") == "0 0 600 400"
    shapes = [*root.iter(f"{SVG}polyline"), *root.iter(f"{SVG}polygon")]
    assert len(shapes) == 8
    for number, shape in enumerate(root.iter(f"{SVG}polyline")):
        for x, y in re.findall(r"([\d.]+),([\d.]+)", shape.get("points")):
            assert 300 * (number % 2) <= float(x) <= 300 * (number % 2 + 1)
            assert 200 * (number // 2) <= float(y) <= 200 * (number // 2 + 1)


def test_what_is_not_finite_is_left_out():
    root = drawn(Panel("", [Series("a", [(0, 1.0), (1, math.nan), (2, math.inf), (3, 2.0)])]))
    (line,) = root.iter(f"{SVG}polyline")
    assert len(line.get("points").split()) == 2


def test_a_color_means_the_same_in_every_panel():
    series = [Series("a", [(0, 1), (1, 2)]), Series("b", [(0, 2), (1, 1)])]
    root = drawn(Panel("one", series), Panel("two", series[1:]))
    strokes = [line.get("stroke") for line in root.iter(f"{SVG}polyline")]
    assert strokes[0] != strokes[1] == strokes[2]
