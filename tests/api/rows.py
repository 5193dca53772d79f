"""A row of the access matrix: an operation, who reaches how far with it, what a call looks like."""

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
    What `needs` names is made of the caller's own before the call. `for_role` holds the body of a
    role (the query, where the operation reads) that is not as `body` (or `query`) says.
    """

    operation: str
    reach: Mapping[Role, str]
    body: Any = None
    ok: int = 200
    absent: int = 404
    made: Mapping[str, str] | None = None
    query: str = ""
    needs: tuple[str, ...] = ()
    for_role: Mapping[Role, Any] | None = None

    def expected(self, role: Role, whose: Whose) -> int:
        """Return the status that a caller of this role is answered about whose thing."""
        if role not in self.reach:
            return 403
        return self.ok if whose in REACHES[self.reach[role]] else self.absent
