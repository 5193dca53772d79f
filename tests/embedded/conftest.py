"""Data directories of the embedded PostgreSQL, each for one test."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.embedded.processes import answers


@pytest.fixture(scope="session")
def base() -> Iterator[Path]:
    """A temporary folder that the server's account may pass through, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="tb-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template(base: Path) -> Path:
    """A data directory after its first run, to be copied: initdb is the slow part."""
    await answers(base / "template")
    return base / "template"


@pytest.fixture
def data_dir(base: Path, template: Path) -> Path:
    folder = Path(tempfile.mkdtemp(prefix="d-", dir=base)) / "data"
    folder.parent.chmod(0o711)
    subprocess.run(["cp", "-a", template, folder], check=True)
    return folder
