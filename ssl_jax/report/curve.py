# SPDX-License-Identifier: Apache-2.0
"""The loss curve as a picture: on a terminal with block characters, on disk as SVG."""

import html
import math
from collections.abc import Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
Points = Sequence[tuple[float, float]]


def bins(points: Points, count: int) -> list[float | None]:
    """Mean y of the points in each of count equal stretches of x; None where there is none."""
    if not points:
        return []
    first, last = points[0][0], points[-1][0]
    sums, counts = [0.0] * count, [0] * count
    for x, y in points:
        i = min(count - 1, int((x - first) / max(last - first, 1e-9) * count))
        sums[i], counts[i] = sums[i] + y, counts[i] + 1
    return [s / n if n else None for s, n in zip(sums, counts, strict=True)]


def text(points: Points, *, width: int = 64, height: int = 8) -> str:
    """A filled curve, height lines tall, with its range and steps."""
    points = [(x, y) for x, y in points if math.isfinite(y)]
    if len(points) < 2:
        return "  (too few logged steps for a curve)"
    means = [m for m in bins(points, min(width, len(points))) if m is not None]
    low, high = min(means), max(means)
    span = max(high - low, 1e-9)
    lines = []
    for line in range(height - 1, -1, -1):
        cells = []
        for mean in means:
            level = (mean - low) / span * height * 8 + 1 - line * 8
            cells.append(BLOCKS[max(0, min(8, round(level)))])
        label = f"{high:8.3f}" if line == height - 1 else f"{low:8.3f}" if line == 0 else " " * 8
        lines.append(f"{label} │{''.join(cells)}")
    lines.append(f"{'':8} └{'─' * len(means)}")
    lines.append(f"{'':10}step {points[0][0]:.0f} to {points[-1][0]:.0f}")
    return "\n".join(lines)


def svg(training: Points, heldout: Points, title: str, *, width: int = 720, height: int = 360) -> str:
    """Training loss as a line, held-out loss as dots.  One file, no scripts, text as text."""
    training = [(x, y) for x, y in training if math.isfinite(y)]
    heldout = [(x, y) for x, y in heldout if math.isfinite(y)]
    every = [*training, *heldout]
    left, right, top, bottom = 60, 20, 40, 40
    if not every:
        every = [(0.0, 0.0), (1.0, 1.0)]
    x0, x1 = min(x for x, _ in every), max(x for x, _ in every)
    y0, y1 = min(y for _, y in every), max(y for _, y in every)

    def at(x: float, y: float) -> tuple[float, float]:
        px = left + (x - x0) / max(x1 - x0, 1e-9) * (width - left - right)
        py = top + (y1 - y) / max(y1 - y0, 1e-9) * (height - top - bottom)
        return round(px, 1), round(py, 1)

    line = " ".join(f"{px},{py}" for px, py in (at(x, y) for x, y in training))
    dots = "".join(
        f'<circle cx="{px}" cy="{py}" r="4" fill="#c0392b"/>' for px, py in (at(*p) for p in heldout)
    )
    grid = []
    for i in range(5):
        y = y0 + (y1 - y0) * i / 4
        _, py = at(x0, y)
        grid.append(
            f'<line x1="{left}" x2="{width - right}" y1="{py}" y2="{py}" stroke="#ddd"/>'
            f'<text x="{left - 8}" y="{py + 4}" text-anchor="end">{y:.2f}</text>'
        )
        x = x0 + (x1 - x0) * i / 4
        px, _ = at(x, y0)
        grid.append(f'<text x="{px}" y="{height - bottom + 18}" text-anchor="middle">{x:.0f}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" '
        f'font-size="12"><rect width="{width}" height="{height}" fill="white"/>'
        f'<text x="{left}" y="22" font-size="15">{html.escape(title)}</text>{"".join(grid)}'
        f'<polyline points="{line}" fill="none" stroke="#2c6fbb" stroke-width="1.5"/>{dots}'
        f'<text x="{width - right}" y="22" text-anchor="end">'
        f'<tspan fill="#2c6fbb">training loss</tspan>  '
        f'<tspan fill="#c0392b">held-out loss</tspan></text></svg>\n'
    )
