# SPDX-License-Identifier: Apache-2.0
"""docs/pods.md: its commands say what the page says; those in bash blocks need the TPU compiler."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.pages import Page

PATH = Path(__file__).resolve().parents[2] / "docs" / "pods.md"


def page(kind: str) -> Page:
    """The page with its blocks of this kind as those that are run."""
    made = Page(PATH)
    made.blocks = [("sh" if name == kind else "text", info, body) for name, info, body in made.blocks]
    return made


@pytest.mark.slow
def test_every_command_says_what_the_page_says(tmp_path):
    commands = page("sh")
    commands.check(commands.ran(tmp_path))


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("libtpu") is None, reason="libtpu is not installed: pip install 'ssl_jax[plan]'"
)
def test_every_plan_for_tpus_says_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    commands = page("bash")
    commands.check(commands.ran(tmp_path))
