# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints a folder holds, and what was measured when each was saved: by its files alone."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def saved_steps(folder: Path) -> list[int]:
    """The committed steps in a checkpoints folder, without touching it: another process may be writing."""
    if not folder.is_dir():
        return []
    return sorted(
        int(p.name) for p in folder.iterdir() if p.name.isdigit() and (p / "commit_success.txt").exists()
    )


def best_first(folder: Path, steps: Sequence[int], higher_is_better: bool) -> list[int]:
    """Those of the steps that were measured when they were saved, from the best one on; ties: the earlier."""
    sign = -1.0 if higher_is_better else 1.0
    scores = {s: score_of(folder, s) for s in steps}
    return [s for _, s in sorted((sign * score, s) for s, score in scores.items() if math.isfinite(score))]


def score_of(folder: Path, step: int) -> float:
    """What checkpoint.best was when the step was saved; nan where it wasn't measured, or can't be read."""
    try:
        best = read_meta(folder, step).get("best")
    except (OSError, ValueError):
        best = None
    return math.nan if best is None else float(best)


def read_meta(folder: Path, step: int) -> dict[str, Any]:
    """What was saved beside the state of a checkpoint: next_row, measured and the like."""
    return json.loads((folder / str(step) / "meta" / "metadata").read_text())
