# SPDX-License-Identifier: Apache-2.0
"""What holds for every file: the direction of imports, and nothing that runs what it reads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(p for folder in ("ssl_jax", "configs") for p in (ROOT / folder).rglob("*.py"))
NAMES = [str(p.relative_to(ROOT)) for p in FILES]

# Reading with any of these can run code.  The one exec runs the recipe that the user named.
RUNS_CODE = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "runpy"}
CALLS = {"eval", "exec", "__import__", "execfile"}
ALLOWED_CALLS = {("ssl_jax/config/recipes.py", "exec")}
ATTRIBUTES = {"os.system", "os.popen", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load"}
KEYWORDS = {"allow_pickle", "trust_remote_code", "shell"}
HEAVY = {"torch", "transformers"}  # peers to compare with, under tests and benchmarks alone


def trees():
    return [(name, ast.parse(file.read_text(encoding="utf-8"))) for name, file in zip(NAMES, FILES)]


def imports(tree: ast.AST) -> set[str]:
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def dangers(name: str, tree: ast.AST) -> list[str]:
    found = [f"imports {module}" for module in imports(tree) if module.partition(".")[0] in RUNS_CODE]
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in CALLS and (name, called) not in ALLOWED_CALLS:
            found.append(f"line {node.lineno} calls {called}")
        if called in ATTRIBUTES:
            found.append(f"line {node.lineno} calls {called}")
        for keyword in node.keywords:
            is_off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in KEYWORDS and not is_off:
                found.append(f"line {node.lineno} passes {keyword.arg}")
    return found


def test_imports_go_downwards():
    code = "import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())"
    done = subprocess.run(
        [sys.executable, "-c", code, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_read_is_ever_run():
    found = {name: bad for name, tree in trees() if (bad := dangers(name, tree))}
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "eval('1')",
        "exec('1')",
        "os.system('x')",
        "np.load(f, allow_pickle=True)",
        "subprocess.run('x', shell=shell)",
        "load(name, trust_remote_code=True)",
    ],
)
def test_the_check_itself_sees(code):
    assert dangers("ssl_jax/other.py", ast.parse(code))


def test_the_package_never_imports_torch_transformers_or_itself_from_the_future():
    found = {name: bad for name, tree in trees() if (bad := imports(tree) & (HEAVY | {"__future__"}))}
    assert found == {}


def test_text_imports_no_jax():
    found = [
        name
        for name, tree in trees()
        if name.startswith("ssl_jax/text/")
        and any(module.partition(".")[0] in ("jax", "flax", "optax") for module in imports(tree))
    ]
    assert found == []


def test_every_file_says_its_licence_and_what_it_is_for():
    bare = []
    for file in [*FILES, *(ROOT / "tests").rglob("*.py")]:
        text = file.read_text(encoding="utf-8")
        licensed = text.startswith("# SPDX-License-Identifier: Apache-2.0\n")
        if text and not (licensed and ast.get_docstring(ast.parse(text))):
            bare.append(str(file.relative_to(ROOT)))
    assert bare == []


def test_import_ssl_jax_is_light():
    code = "import sys, ssl_jax; print(sorted({'jax', 'numpy', 'flax', 'orbax', 'grain'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[]\n", done.stderr
