# SPDX-License-Identifier: Apache-2.0
"""A page of docs/ whose files, commands and outputs are what happens, in the order of the page.

A block of Python with a title is a file; a sh block holds `ssl-jax` commands, and the text block after it
what they say (`...` stands for anything), with `exit=N` where they fail.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(?P<kind>\w+)(?P<info>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)

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

Ran = list[tuple[str, list[tuple[int, str]]]]  # (body of a sh block, (status, output) of each line)


def commands(body: str) -> list[list[str]]:
    """The words after `ssl-jax` of each line of a sh block; a backslash at its end joins two."""
    lines = [shlex.split(line) for line in body.replace("\\\n", " ").splitlines()]
    assert all(words[0] == "ssl-jax" for words in lines), body
    return [words[1:] for words in lines]


def shows(output: str, expected: str) -> bool:
    """Whether the lines of a text block are lines of the output, in order; `...` stands for anything."""
    wanted = [".*?".join(map(re.escape, line.split("..."))) for line in expected.splitlines()]
    return re.search("(?:^|\n)" + "\n(?:.*\n)*?".join(wanted) + "(?:\n|$)", output) is not None


class Page:
    def __init__(self, path: Path):
        found = BLOCK.finditer(path.read_text(encoding="utf-8"))
        self.blocks = [(m["kind"], m["info"].strip(), m["body"]) for m in found]
        self.files = {info[7:-1]: body for _, info, body in self.blocks if info.startswith('title="')}

    def ran(self, folder: Path, script: str | None = None) -> Ran:
        """Every sh block in order, in a folder that has the page's files, after a Python script of them."""
        for name, body in self.files.items():
            (folder / name).write_text(body, encoding="utf-8")
        environment = os.environ | {
            "SSL_JAX_CACHE": str(folder / "cache"),
            "PYTHONPATH": str(ROOT),
            "PYTHONUTF8": "1",
            "JAX_PLATFORMS": "cpu",
        }
        start = {"cwd": folder, "env": environment, "text": True, "encoding": "utf-8", "timeout": 600}
        if script is not None:
            subprocess.run([sys.executable, script], check=True, **start)
        bodies = [body for kind, _, body in self.blocks if kind == "sh"]
        todo = [words for body in bodies for words in commands(body)]
        done = subprocess.run(
            [sys.executable, "-c", RUN], input=json.dumps(todo), capture_output=True, **start
        )
        results = iter([json.loads(line) for line in done.stdout.splitlines()])
        assert done.returncode == 0, done.stderr
        return [(body, [next(results) for _ in commands(body)]) for body in bodies]

    def check(self, ran: Ran) -> None:
        """Every command says what the page says."""
        steps = iter(ran)
        outputs = 0
        for (kind, _, body), (next_kind, info, expected) in zip(
            self.blocks, [*self.blocks[1:], ("", "", "")]
        ):
            if kind != "sh":
                continue
            same_body, results = next(steps)
            assert same_body == body
            output = "".join(said for _, said in results)
            assert next_kind == "text", f"the page doesn't show what this says: {body}"
            outputs += 1
            wanted = int(info.removeprefix("exit=") or 0)
            assert [status for status, _ in results] == [wanted] * len(results), f"{body}\n{output}"
            assert shows(output, expected), f"{body}\nsaid\n{output}\nthe page says\n{expected}"
        assert outputs == len(ran) > 0
