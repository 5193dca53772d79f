"""What every story starts with."""

import os
from pathlib import Path

import pytest

from tests.api.conftest import api, app, http

__all__ = ["api", "app", "environment", "http"]
"""Stories over HTTP are told to the same app as the tests of the API."""


@pytest.fixture
def environment(open_dir: Path) -> dict[str, str]:
    """A clean environment with a data folder of its own."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TIMEBANK_")}
    return own | {"TIMEBANK_DATA_DIR": str(open_dir / "data")}
