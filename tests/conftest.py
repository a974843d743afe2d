# SPDX-License-Identifier: Apache-2.0
"""What every test stands on: 8 fake CPU devices, shape checks on our own signatures, golden files."""

import os
from importlib.metadata import version
from pathlib import Path

# Before jax is imported by anybody: it reads these once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# Compiling is most of the suite's time.  These flags make it several times faster, and what it makes slower;
# what one test compiled the next ones (and the processes they start) need not compile again.
ROOT = Path(__file__).resolve().parents[1]
FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if version("jaxlib").startswith("0.10."):  # later ones don't know it
    FAST_COMPILE += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", FAST_COMPILE)
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(ROOT / ".pytest_cache" / f"jaxlib-{version('jaxlib')}")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import hypothesis
import jax
import jaxtyping
import pytest

if os.environ["JAX_PLATFORMS"] == "cpu":
    jax.config.update("jax_num_cpu_devices", 8)

# Float[Array, "B T D"] in a signature is checked at every call, under pytest only.
jaxtyping.install_import_hook(["ssl_jax.nn", "ssl_jax.models", "ssl_jax.objectives"], "beartype.beartype")

hypothesis.settings.register_profile("here", deadline=None, max_examples=50)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite tests/golden/ from what is computed"
    )


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real corpora beside the checkout; the test is skipped where there is none."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no corpora at {folder}")
    return folder


@pytest.fixture
def golden(request: pytest.FixtureRequest):
    """golden(name, text): compare text with tests/golden/name, or write it there with --update-golden."""

    def check(name: str, text: str) -> None:
        file = ROOT / "tests" / "golden" / name
        text = text.rstrip("\n") + "\n"
        if request.config.getoption("--update-golden"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            return
        if not file.exists():
            pytest.fail(f"{file} is missing; pytest --update-golden writes it, and the diff is for review")
        assert text == file.read_text(encoding="utf-8"), (
            f"differs from {file}; pytest --update-golden rewrites it"
        )

    return check


@pytest.fixture
def strict_shapes():
    """No silent broadcasting between ranks and no silent promotion: for tests of our own nn code."""
    with jax.numpy_rank_promotion("raise"), jax.numpy_dtype_promotion("strict"):
        yield
