"""A row of the access matrix, and what its words mean."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.api.things import Whose
from timebank.people.access import Role

REACHES: Mapping[str, frozenset[Whose]] = {
    "own": frozenset({Whose.OWN}),
    "branch": frozenset({Whose.OWN, Whose.NEAR}),
    "bank": frozenset({Whose.OWN, Whose.NEAR, Whose.FAR}),
    "none": frozenset(),  # the role may, but nothing that the matrix knows is theirs
    "any": frozenset(Whose),  # an operation that names nobody's thing
}


@dataclass(frozen=True)
class Row:
    """An operation, who reaches how far with it, and what a call looks like.

    Path parameters are made by name (`things.MAKERS`), under the name in `made` if it stands there.
    """

    operation: str
    reach: Mapping[Role, str]
    body: Any = None
    ok: int = 200
    absent: int = 404
    made: Mapping[str, str] | None = None
    query: Mapping[str, Any] | None = None

    def expected(self, role: Role, whose: Whose) -> int:
        """Return the status that a caller of this role is answered about whose thing."""
        if role not in self.reach:
            return 403
        return self.ok if whose in REACHES[self.reach[role]] else self.absent


READING = {
    Role.RESIDENT: "own",
    Role.COORDINATOR: "branch",
    Role.AUDITOR: "bank",
    Role.INTEGRATOR: "bank",
}
