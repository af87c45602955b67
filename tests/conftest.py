"""Settings shared by all tests: quiet TensorFlow, a private cache folder."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from experiments import environment  # noqa: E402

os.environ.update(environment.missing())

import pytest  # noqa: E402

from tests import small  # noqa: E402


@pytest.fixture(autouse=True)
def _private_cache(tmp_path_factory, monkeypatch):
    """Keep every test's cache to itself, so that no test sees another's or the user's files."""
    monkeypatch.setenv("TWO_STAGE_VAE_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture(autouse=True)
def _roomy_disk(monkeypatch):
    """What the machine's disk has free is no test's business; a full one is made where wanted."""
    usage = shutil.disk_usage(ROOT)._replace(free=2**50)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)


@pytest.fixture(scope="module")
def narrow_second_stage():
    """See ``tests.small``; asked for by the modules that train or save second stages."""
    with pytest.MonkeyPatch.context() as patch:
        small.narrow_second_stage(patch.setattr)
        yield
