# SPDX-License-Identifier: Apache-2.0
"""docs/using-a-model.md: its files, commands, outputs and Python are what happens."""

import doctest
from pathlib import Path

import pytest

from ssl_jax.cli.main import parser
from tests.docs.pages import Page, commands

PAGE = Page(Path(__file__).resolve().parents[2] / "docs" / "using-a-model.md")


def test_every_command_of_the_page_parses():
    bodies = [body for kind, _, body in PAGE.blocks if kind == "sh"]
    assert bodies
    for words in (words for body in bodies for words in commands(body)):
        parser().parse_args(words)


@pytest.mark.slow
def test_the_page_runs_as_it_stands(tmp_path, monkeypatch):
    PAGE.check(PAGE.ran(tmp_path, "make_stories.py"))
    monkeypatch.chdir(tmp_path)
    (code,) = [body for kind, info, body in PAGE.blocks if (kind, info) == ("python", "")]
    test = doctest.DocTestParser().get_doctest(code, {}, "using-a-model.md", None, 0)
    said: list[str] = []
    failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
    assert tried > 10 and not failed, "".join(said)
