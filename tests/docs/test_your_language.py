# SPDX-License-Identifier: Apache-2.0
"""docs/your-language.md: its files, commands and outputs are what happens, in the order of the page."""

import doctest
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "your-language.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(?P<kind>\w+)(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
BLOCKS = [(m["kind"], m["info"].strip(), m["body"]) for m in BLOCK.finditer(PAGE)]
FILES = {info[7:-1]: body for kind, info, body in BLOCKS if info.startswith('title="')}

# One process for all commands: the page's user pays for the imports each time, a test need not.
RUN = """
import contextlib, io, json, sys
from ssl_jax.cli.main import main
for words in json.load(sys.stdin):
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        status = main(words)
    print(json.dumps([status, said.getvalue()]), flush=True)
"""


def commands(body: str) -> list[list[str]]:
    """The words after `ssl-jax` of each line of a sh block."""
    lines = [shlex.split(line) for line in body.splitlines()]
    assert all(words[0] == "ssl-jax" for words in lines), body
    return [words[1:] for words in lines]


def shows(output: str, expected: str) -> bool:
    """Whether the lines of a text block are lines of the output, in order; `...` stands for anything."""
    wanted = [".*?".join(map(re.escape, line.split("..."))) for line in expected.splitlines()]
    return re.search("(?:^|\n)" + "\n(?:.*\n)*?".join(wanted) + "(?:\n|$)", output) is not None


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Every sh block in order, in a folder that has the page's files: [(sh body, [(status, output)])]."""
    folder = tmp_path_factory.mktemp("page")
    for name, body in FILES.items():
        (folder / name).write_text(body, encoding="utf-8")
    environment = os.environ | {
        "SSL_JAX_CACHE": str(folder / "cache"),
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
        "JAX_PLATFORMS": "cpu",
    }
    start = {"cwd": folder, "env": environment, "text": True, "encoding": "utf-8", "timeout": 300}
    subprocess.run([sys.executable, "make_texts.py"], check=True, **start)
    bodies = [body for kind, _, body in BLOCKS if kind == "sh"]
    todo = [words for body in bodies for words in commands(body)]
    done = subprocess.run([sys.executable, "-c", RUN], input=json.dumps(todo), capture_output=True, **start)
    results = iter([json.loads(line) for line in done.stdout.splitlines()])
    assert done.returncode == 0, done.stderr
    return [(body, [next(results) for _ in commands(body)]) for body in bodies]


def test_every_command_says_what_the_page_says(page):
    ran = iter(page)
    outputs = 0
    for (kind, _, body), (next_kind, info, expected) in zip(BLOCKS, [*BLOCKS[1:], ("", "", "")]):
        if kind != "sh":
            continue
        same_body, results = next(ran)
        assert same_body == body
        output = "".join(said for _, said in results)
        assert next_kind == "text", f"the page doesn't show what this says: {body}"
        outputs += 1
        wanted = int(info.removeprefix("exit=") or 0)
        assert [status for status, _ in results] == [wanted] * len(results), f"{body}\n{output}"
        assert shows(output, expected), f"{body}\nsaid\n{output}\nthe page says\n{expected}"
    assert outputs == len(page) > 5


def test_python_at_the_prompt_gives_what_the_page_shows():
    snippets = [body for kind, _, body in BLOCKS if kind == "python" and body.startswith(">>>")]
    assert snippets
    for body in snippets:
        test = doctest.DocTestParser().get_doctest(body, {}, "your-language.md", None, 0)
        said: list[str] = []
        failed, tried = doctest.DocTestRunner(verbose=False).run(test, out=said.append)
        assert tried and not failed, "".join(said)


def test_what_the_page_says_of_normalization():
    """The table of section 4, without training: sentencepiece's own rules."""
    import sentencepiece

    def normal(rule: str, text: str) -> str:
        normalizer = sentencepiece.SentencePieceNormalizer(
            rule_name=rule, add_dummy_prefix=False, escape_whitespaces=False
        )
        return normalizer.normalize(text)

    for text, result in {
        "春，夏：秋！冬。": "春,夏:秋!冬。",
        "Ａ１": "A1",
        "ｶﾞ": "ガ",
        "می\u200cخواهم": "می خواهم",
        "น้\u0e33": "น้\u0e4d\u0e32",
        "\u0e99\u0ec9\u0eb3": "\u0e99\u0ec9\u0ecd\u0eb2",
        "ﻻ": "لا",
        "a\nb\tc": "a b c",
        "\u0958िला é": "क\u093cिला é",
    }.items():
        assert normal("nmt_nfkc", text) == result
        assert normal("identity", text) == text
    assert normal("nfkc", "می\u200cخواهم") == "می\u200cخواهم"
    assert normal("nfkc", "a\nb\tc") == "a\nb\tc"


def test_zero_width_spaces_are_word_boundaries():
    from ssl_jax.text import UnicodeWords

    starts = UnicodeWords().starts("ฉัน\u200bกินข้าว")
    assert starts[4] and not starts[3]
