# SPDX-License-Identifier: Apache-2.0
"""The real command prepares a corpus in parts and under Beam, killed and repeated: one machine's store."""

import importlib.util
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ssl_jax.data import open_corpus
from tests.end_to_end.runs import ROOT, Place, documents, end, make_place

pytestmark = pytest.mark.slow
needs_beam = pytest.mark.skipif(
    not importlib.util.find_spec("apache_beam"), reason="Apache Beam isn't installed (extra [beam])"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory, request):
    return make_place(tmp_path_factory.mktemp("parts"), request.config.cache.mkdir("compiled"))


@pytest.fixture(scope="module")
def alone(place):
    """The store that one process builds."""
    end(place.start("prepare", place.recipe, "--set", f"data.store={place.folder / 'alone'}"), 0)
    return open_corpus(place.folder / "alone")


def prepare(place: Place, store: Path, *args: str, cache: str, **env: str) -> subprocess.Popen:
    """cache: a folder of its own, so that every way trains its own tokenizer."""
    words = ["prepare", str(place.recipe), "--set", f"data.store={store}", *args]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.end_to_end.small_shards", *words],
        cwd=ROOT,
        env={**place.env, "SSL_JAX_CACHE": str(place.folder / cache), **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_four_parts_at_once_one_killed_and_repeated(place, alone, tmp_path):
    store = tmp_path / "store"
    part = lambda i, **env: prepare(place, store, "--part", f"{i}/4", cache="parts", **env)
    processes = [part(0), part(1), part(2, KILLED_AT="2"), part(3)]
    for i, process in enumerate(processes):
        out, _ = end(process, -signal.SIGKILL if i == 2 else 0)
        assert i == 2 or f"part {i}/4" in out
    _, err = end(prepare(place, store, "--publish", cache="parts"), 2)
    assert err.splitlines()[-1].startswith("ssl-jax: part 2/4 is not prepared")
    assert not store.exists()
    end(part(2), 0)
    end(part(1), 0)
    out, _ = end(prepare(place, store, "--publish", cache="parts"), 0)
    assert out.endswith(f"corpus: {store}\n")
    assert open_corpus(store).fingerprint == alone.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@needs_beam
def test_beam_killed_and_repeated(place, alone, tmp_path):
    store = tmp_path / "store"
    end(prepare(place, store, "--beam", cache="beam", KILLED_AT="3"), -signal.SIGKILL)
    assert len(list((tmp_path / "store.parts").glob("*.npz"))) >= 1 and not store.exists()
    out, _ = end(prepare(place, store, "--beam", "--", "--runner=DirectRunner", cache="beam"), 0)
    assert out.endswith(f"corpus: {store}\n")
    assert open_corpus(store).fingerprint == alone.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


@needs_beam
def test_a_mistake_found_by_a_beam_worker_is_one_line(place, tmp_path):
    broken = tmp_path / "rows.jsonl"
    good = [json.dumps({"text": text}) for text in documents(300)]
    broken.write_text("\n".join([*good, *["x"] * 5000]), encoding="utf-8")
    sets = ["--set", f"data.source={broken}"]
    _, err = end(prepare(place, tmp_path / "store", *sets, "--beam", cache="beam"), 2)
    line = err.splitlines()[-1]
    assert line.startswith("ssl-jax: ") and "rows.jsonl: byte" in line and "Traceback" not in err, err
