"""Settings: read once from the environment, bounded, and each of them documented."""

import re
from pathlib import Path

import pytest

from timebank.config import PREFIX, Settings, read_settings
from timebank.domain.errors import InvalidInputError

ROOT = Path(__file__).parents[1]
DOCS = (ROOT / "docs" / "settings.md").read_text("utf-8")


def documented() -> dict[str, str]:
    """Return the default of each variable that the tables list."""
    return dict(re.findall(r"^\| `(TIMEBANK_\w+)` \| (.*?) \|", DOCS, re.MULTILINE))


def read_in_the_code() -> set[str]:
    """Return every variable that is named in the program, in whatever way."""
    sources = [path.read_text("utf-8") for path in (ROOT / "timebank").rglob("*.py")]
    fields = {PREFIX + field.upper() for field in Settings.__struct_fields__}
    return fields | {
        name for text in sources for name in re.findall(r"TIMEBANK_[A-Z_]*[A-Z]", text)
    }


def test_every_setting_is_documented() -> None:
    assert documented().keys() == read_in_the_code()


def test_the_documented_defaults_are_those_of_the_code() -> None:
    given = documented()
    for field, default in zip(
        Settings.__struct_fields__, Settings.__struct_defaults__, strict=True
    ):
        if default is not None:
            assert given[PREFIX + field.upper()] == f"`{default}`"


def test_nothing_set_is_all_defaults() -> None:
    assert read_settings({}) == Settings()
    assert read_settings({"TIMEBANK_HOST": "", "HOST": "x", "TIMEBANKS": "x"}) == Settings()


def test_every_documented_name_may_be_set_and_no_other() -> None:
    for name in documented():
        read_settings({name: ""})
    with pytest.raises(InvalidInputError, match="no setting TIMEBANK_AUDITER_URL, TIMEBANK_X;"):
        read_settings({"TIMEBANK_X": "", "TIMEBANK_PORT": "1", "TIMEBANK_AUDITER_URL": "x"})


def test_every_setting_is_read() -> None:
    settings = read_settings(
        {
            "TIMEBANK_DATABASE_URL": "postgresql://a",
            "TIMEBANK_AUDITOR_URL": "postgresql://b",
            "TIMEBANK_DATA_DIR": "/var/lib/elsewhere",
            "TIMEBANK_MASTER_KEY_FILE": "/etc/timebank/master.key",
            "TIMEBANK_ARGON2_MEMORY_KIB": "64",
            "TIMEBANK_ARGON2_PASSES": "3",
            "TIMEBANK_PUBLIC_URL": "https://bank.example",
            "TIMEBANK_FONT_DIR": "/usr/share/fonts/noto",
            "TIMEBANK_HOST": "0.0.0.0",  # noqa: S104 - only read, never bound
            "TIMEBANK_PORT": "0",
            "TIMEBANK_POOL_SIZE": "100",
            "TIMEBANK_JOB_SECONDS": "0",
            "TIMEBANK_WEBHOOK_SECONDS": "0",
            "TIMEBANK_LOG_LEVEL": "debug",
        }
    )
    assert settings.data_dir == Path("/var/lib/elsewhere")
    assert (settings.port, settings.pool_size, settings.log_level) == (0, 100, "debug")
    assert all(
        getattr(settings, field) != default
        for field, default in zip(
            Settings.__struct_fields__, Settings.__struct_defaults__, strict=True
        )
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "x"),
        ("PORT", "80.5"),
        ("POOL_SIZE", "1"),
        ("POOL_SIZE", "101"),
        ("LOG_LEVEL", "INFO"),
        ("LOG_LEVEL", "infos"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_what_cannot_be_used_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=f"TIMEBANK_.*{name.lower()}"):
        read_settings({PREFIX + name: value})
