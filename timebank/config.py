"""Settings: read once, from the environment; each is documented in docs/settings.md."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from timebank.domain.errors import InvalidInputError

PREFIX = "TIMEBANK_"

_READ_BY_CLUSTER = frozenset({"TIMEBANK_PG_BIN", "TIMEBANK_PG_OS_USER"})
"""Settings that `cluster.py`, which needs nothing but the standard library, reads by itself."""


class Settings(Struct, frozen=True, kw_only=True):
    """What a deployment may set; a field `host` is the variable TIMEBANK_HOST."""

    database_url: str | None = None
    auditor_url: str | None = None
    data_dir: Path | None = None
    master_key_file: Path | None = None
    argon2_memory_kib: Annotated[int, Meta(ge=8, le=1 << 20)] = 47104
    argon2_passes: Annotated[int, Meta(ge=1, le=10)] = 1
    public_url: Annotated[str, Meta(pattern="^https://[^/?#]+(/[^?#]*)?$")] | None = None
    font_dir: Path | None = None
    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8470
    pool_size: Annotated[int, Meta(ge=2, le=100)] = 8
    job_seconds: Annotated[int, Meta(ge=0, le=86400)] = 30
    webhook_seconds: Annotated[int, Meta(ge=0, le=86400)] = 2
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Return the settings in `environment`; InvalidInputError names one that cannot be used.

    A name of ours that means nothing is refused: whoever mistypes the database's would otherwise be
    given another database, and an answer about that.
    """
    _refuse_unknown(environment)
    given = {
        field: environment[PREFIX + field.upper()]
        for field in Settings.__struct_fields__
        if environment.get(PREFIX + field.upper())
    }
    try:
        return msgspec.convert(
            given, Settings, strict=False, dec_hook=lambda kind, text: kind(text)
        )
    except msgspec.ValidationError as error:
        raise InvalidInputError(f"A {PREFIX}… setting cannot be used: {error}") from error


def _refuse_unknown(environment: Mapping[str, str]) -> None:
    known = _READ_BY_CLUSTER | {PREFIX + field.upper() for field in Settings.__struct_fields__}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise InvalidInputError(
            f"There is no setting {', '.join(unknown)}; there are {', '.join(sorted(known))}."
        )
