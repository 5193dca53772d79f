"""Reading the files that people give to commands: whole, bounded, and refused in one sentence."""

from pathlib import Path

from timebank.domain.errors import InvalidInputError

LARGEST_FILE = 64 * 1024 * 1024


def read_file(path: Path) -> bytes:
    """Return what the file holds; InvalidInputError if it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise InvalidInputError(f"{path} is larger than {LARGEST_FILE >> 20} MiB. Cut it in parts.")
    return content
