# SPDX-License-Identifier: Apache-2.0
"""docs/embeddings.md: its files, commands, outputs and Python are what happens."""

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from ssl_jax.cli.main import parser
from tests.docs.pages import Page, commands

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "embeddings.md")


def test_every_command_of_the_page_parses():
    bodies = [body for kind, _, body in PAGE.blocks if kind == "sh"]
    assert bodies
    for words in (words for body in bodies for words in commands(body)):
        assert parser().parse_args(words).command in ("pretrain", "embed")


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    PAGE.check(PAGE.ran(tmp_path, "make_captions.py"))
    monkeypatch.chdir(tmp_path)
    (code,) = [body for kind, info, body in PAGE.blocks if (kind, info) == ("python", "")]
    exec(code, {})
    words = np.load("words.npz", allow_pickle=False)
    assert len(words["texts"]) == len(words["words"]) > 16_000 and "bank" in words["words"]
    nodes = ElementTree.parse("bank.svg").iter("{http://www.w3.org/2000/svg}text")
    numbers = [int(n.text) for n in nodes if (n.text or "").isdigit()]
    assert {frozenset(numbers[:2]), frozenset(numbers[2:4])} == {frozenset({1, 3}), frozenset({2, 4})}
