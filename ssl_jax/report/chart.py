# SPDX-License-Identifier: Apache-2.0
"""Line charts as SVG: one file, no scripts, text as text."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

COLORS = ("#2c6fbb", "#c0392b", "#2e8b57", "#8e44ad", "#d68910", "#5d6d7e", "#117a65", "#a04000")
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """points: (x, y) in order of x; band: (x, low, high) around it; dots in place of a line."""

    name: str
    points: Points
    band: Sequence[tuple[float, float, float]] = ()
    dots: bool = False


@dataclass(frozen=True)
class Panel:
    """One pair of axes.  Points that are not finite are left out."""

    title: str
    series: Sequence[Series]
    x_label: str = "step"


@dataclass(frozen=True)
class _Frame:
    """Where a panel's data lies: values to pixels."""

    left: float
    top: float
    width: float
    height: float
    x: tuple[float, float]
    y: tuple[float, float]

    def at(self, x: float, y: float) -> str:
        px = self.left + (x - self.x[0]) / max(self.x[1] - self.x[0], 1e-9) * self.width
        py = self.top + (self.y[1] - y) / max(self.y[1] - self.y[0], 1e-9) * self.height
        return f"{px:.1f},{py:.1f}"


def svg(panels: Sequence[Panel], *, width: int = 720, height: int = 360, columns: int = 1) -> str:
    """The panels in rows of `columns`, each width x height, with a legend each and a color a name."""
    names = list(dict.fromkeys(series.name for panel in panels for series in panel.series))
    colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(names)}
    rows = -(-len(panels) // columns)
    whole = width * min(columns, len(panels)), height * rows
    drawn = [
        _panel(panel, colors, (i % columns) * width, (i // columns) * height, width, height)
        for i, panel in enumerate(panels)
    ]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {whole[0]} {whole[1]}" width="{whole[0]}" '
        f'height="{whole[1]}" font-family="sans-serif" font-size="12">'
        f'<rect width="{whole[0]}" height="{whole[1]}" fill="white"/>{"".join(drawn)}</svg>\n'
    )


def _panel(panel: Panel, colors: dict[str, str], x: float, y: float, width: int, height: int) -> str:
    series = [_finite(one) for one in panel.series]
    points = [p for one in series for p in one.points] or [(0.0, 0.0), (1.0, 1.0)]
    heights = [v for _, v in points] + [v for one in series for _, *ends in one.band for v in ends]
    frame = _Frame(
        x + 60,
        y + 40,
        width - 80,
        height - 85,
        (min(p[0] for p in points), max(p[0] for p in points)),
        (min(heights), max(heights)),
    )
    title = f'<text x="{x + 60}" y="{y + 22}" font-size="15">{html.escape(panel.title)}</text>'
    parts = [title, _grid(frame, panel.x_label), *(_band(one, frame, colors[one.name]) for one in series)]
    parts += [_line(one, frame, colors[one.name]) for one in series]
    legend = "  ".join(f'<tspan fill="{colors[one.name]}">{html.escape(one.name)}</tspan>' for one in series)
    return "".join(parts) + f'<text x="{x + width - 20}" y="{y + 22}" text-anchor="end">{legend}</text>'


def _finite(series: Series) -> Series:
    points = [p for p in series.points if all(map(math.isfinite, p))]
    band = [b for b in series.band if all(map(math.isfinite, b))]
    return Series(series.name, points, band, series.dots)


def _grid(frame: _Frame, x_label: str) -> str:
    lines = []
    for i in range(5):
        y = frame.y[0] + (frame.y[1] - frame.y[0]) * i / 4
        x = frame.x[0] + (frame.x[1] - frame.x[0]) * i / 4
        px, py = (float(frame.at(x, y).split(",")[axis]) for axis in (0, 1))
        lines.append(
            f'<line x1="{frame.left}" x2="{frame.left + frame.width}" y1="{py}" y2="{py}" stroke="#ddd"/>'
            f'<text x="{frame.left - 8}" y="{py + 4}" text-anchor="end">{y:.3g}</text>'
            f'<text x="{px}" y="{frame.top + frame.height + 18}" text-anchor="middle">{x:.0f}</text>'
        )
    middle = frame.left + frame.width / 2
    lines.append(
        f'<text x="{middle}" y="{frame.top + frame.height + 36}" text-anchor="middle">{x_label}</text>'
    )
    return "".join(lines)


def _band(series: Series, frame: _Frame, color: str) -> str:
    if not series.band:
        return ""
    around = [frame.at(x, high) for x, _, high in series.band]
    around += [frame.at(x, low) for x, low, _ in reversed(series.band)]
    return f'<polygon points="{" ".join(around)}" fill="{color}" fill-opacity="0.18"/>'


def _line(series: Series, frame: _Frame, color: str) -> str:
    places = [frame.at(x, y) for x, y in series.points]
    if series.dots or len(places) == 1:
        circles = (place.split(",") for place in places)
        return "".join(f'<circle cx="{cx}" cy="{cy}" r="4" fill="{color}"/>' for cx, cy in circles)
    return f'<polyline points="{" ".join(places)}" fill="none" stroke="{color}" stroke-width="1.5"/>'
