"""What every story starts with."""

import os
from pathlib import Path

import pytest


@pytest.fixture
def environment(open_dir: Path) -> dict[str, str]:
    """A clean environment with a data folder of its own."""
    own = {key: value for key, value in os.environ.items() if not key.startswith("TIMEBANK_")}
    return own | {"TIMEBANK_DATA_DIR": str(open_dir / "data")}
