"""Settings shared by all tests: quiet TensorFlow, a private cache folder."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments import environment  # noqa: E402

os.environ.update(environment.missing())

import pytest  # noqa: E402


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory, monkeypatch):
    """Keep every test's cache to itself, so that no test sees another's or the user's files."""
    monkeypatch.setenv("TWO_STAGE_VAE_CACHE", str(tmp_path_factory.mktemp("cache")))
