# SPDX-License-Identifier: Apache-2.0
"""Preparing with bytes as tokens, in a cache of the test's own."""

import importlib

import pytest

from tests.data import fake_text as fake


@pytest.fixture
def fake_text(tmp_path, monkeypatch):
    """`ssl_jax.text` replaced by tests/data/fake_text.py; the cache is tmp_path/cache."""
    monkeypatch.setenv("SSL_JAX_CACHE", str(tmp_path / "cache"))
    for module in ("order", "corpus"):
        monkeypatch.setattr(importlib.import_module(f"ssl_jax.data.{module}"), "text_lib", fake)
    return fake
