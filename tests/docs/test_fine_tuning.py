# SPDX-License-Identifier: Apache-2.0
"""docs/fine-tuning.md: its files, commands and outputs are what happens, and so is the gain."""

import json
from pathlib import Path

import pytest

from ssl_jax.cli.main import parser
from tests.docs.pages import Page, commands

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "fine-tuning.md")


def test_every_command_of_the_page_parses():
    bodies = [body for kind, _, body in PAGE.blocks if kind == "sh"]
    assert bodies
    for words in (words for body in bodies for words in commands(body)):
        parser().parse_args(words)


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path):
    PAGE.check(PAGE.ran(tmp_path, "make_reviews.py"))
    folder = tmp_path / "runs" / "compare-task"
    mean = {cell["start"]: cell["mean"] for cell in json.loads((folder / "comparison.json").read_text())}
    assert mean["reader"] > 0.85 and mean["scratch"] < 0.75, "the words of the dev side are in no label"
    assert (folder / "comparison.svg").read_text().startswith("<svg")
