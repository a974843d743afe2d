# SPDX-License-Identifier: Apache-2.0
"""The loss curve as a picture: on a terminal with block characters, on disk as SVG."""

import math

from ssl_jax.report import chart
from ssl_jax.report.chart import Points

BLOCKS = " ▁▂▃▄▅▆▇█"


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


def svg(training: Points, heldout: Points, title: str) -> str:
    """Training loss as a line, held-out loss as dots."""
    series = [chart.Series("training loss", training), chart.Series("held-out loss", heldout, dots=True)]
    return chart.svg([chart.Panel(title, series)])
