# SPDX-License-Identifier: Apache-2.0
"""One small corpus and one uninterrupted run for all tests here."""

import signal
from pathlib import Path

import pytest

from tests.end_to_end.runs import Place, make_place


@pytest.fixture(scope="session")
def place(tmp_path_factory, request) -> Place:
    """The corpus, its recipe and a cache for what is compiled."""
    return make_place(tmp_path_factory.mktemp("place"), request.config.cache.mkdir("compiled"))


@pytest.fixture(scope="session")
def whole(place, tmp_path_factory) -> Path:
    """The workdir of the recipe's run that nobody interrupted."""
    workdir = tmp_path_factory.mktemp("whole") / "run"
    out, _ = place.done(workdir)
    assert "40 steps done" in out
    return workdir


@pytest.fixture(autouse=True)
def signals_as_they_were():
    """A command that runs in this process takes SIGTERM; pytest gets it back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
