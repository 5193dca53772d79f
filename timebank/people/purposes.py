"""What personal data may be read for, by whom, and which fields each purpose needs: no more."""

from collections.abc import Mapping, Sequence

from timebank.domain.errors import ForbiddenError
from timebank.domain.personal import FIELDS
from timebank.people.access import Role
from timebank.people.vault import Purpose

FIELDS_FOR: Mapping[Purpose, Sequence[str]] = {
    Purpose.REGISTRATION: FIELDS,
    Purpose.IDENTIFICATION: ("name", "id_document", "born_on"),
    Purpose.CONTACT: ("name", "phone", "address", "emergency_name", "emergency_phone"),
    Purpose.CERTIFICATE: ("name", "id_document"),
    Purpose.CORRECTION: FIELDS,
    Purpose.LEGAL_DUTY: FIELDS,
}

PURPOSES_OF: Mapping[Role, frozenset[Purpose]] = {
    Role.COORDINATOR: frozenset(FIELDS_FOR) - {Purpose.LEGAL_DUTY},
    Role.ADMINISTRATOR: frozenset({Purpose.LEGAL_DUTY}),
}
"""Who reads other people's data at all; everybody reads their own."""


def list_fields_for(role: Role, purpose: Purpose) -> Sequence[str]:
    """Return the fields that this role sees for this purpose; ForbiddenError if there are none."""
    if purpose not in PURPOSES_OF.get(role, ()):
        raise ForbiddenError("Your role does not read personal data for this purpose.")
    return FIELDS_FOR[purpose]
