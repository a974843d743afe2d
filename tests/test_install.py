# SPDX-License-Identifier: Apache-2.0
"""A wheel has every module and the shipped recipes, by bare name, far from the checkout."""

import subprocess
import sys
import zipfile

import pytest

from ssl_jax import config

LOOK = "from ssl_jax import config; import sys; print(*config.shipped()); print(config.__file__)"


@pytest.mark.slow
def test_a_wheel_carries_the_recipes_and_every_module(repository, tmp_path):
    def pip(*words: str) -> None:
        command = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr

    pip("wheel", "--no-deps", "-w", str(tmp_path), str(repository))
    [wheel] = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    modules = {str(p.relative_to(repository)) for p in (repository / "ssl_jax").rglob("*.py")}
    recipes = {f"ssl_jax/configs/{p.name}" for p in (repository / "configs").glob("*.py")}
    assert modules | recipes <= inside
    assert any(name.endswith("licenses/LICENSE") for name in inside)

    pip("install", "--no-deps", "--target", str(tmp_path / "site"), str(wheel))
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {LOOK}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=60
    )
    names, where = done.stdout.splitlines()
    assert names.split() == list(config.shipped())
    assert where.startswith(str(tmp_path))


def test_the_shipped_recipes_are_found_by_bare_name_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ssl_jax", "pretrain", "no_such_recipe"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    if "No module named" in done.stderr:
        pytest.skip("ssl_jax is not installed in this environment, only importable from the checkout")
    assert done.returncode == 2
    assert "shipped recipes: " in done.stderr
    assert "bert_tiny" in done.stderr
