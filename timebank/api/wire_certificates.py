"""The JSON of certificates: what is ordered, what is handed out once, what is printed again."""

from datetime import date
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.api.wire import LINE
from timebank.domain.certificates import (
    Certificate,
    CertificateStatus,
    Document,
    Printed,
    RevocationReason,
)
from timebank.service.certificates import Order

Line = Annotated[str, Meta(min_length=1, max_length=64, pattern=LINE, description="one line")]
OptionalLine = Annotated[str, Meta(max_length=200, pattern=LINE)]


class OrderBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A period of local days, both included, and who stands for it on paper."""

    from_on: date
    until_on: date
    in_charge: Line
    handler: Line
    contact: Line
    notes: OptionalLine = ""

    def order(self, person_id: UUID, today: date) -> Order:
        """Return the order for this person, issued today."""
        return Order(
            person_id=person_id,
            from_on=self.from_on,
            until_on=self.until_on,
            issued_on=today,
            in_charge=self.in_charge,
            handler=self.handler,
            contact=self.contact,
            notes=self.notes,
        )


class RevocationBody(Struct, forbid_unknown_fields=True):
    """Why it is ended."""

    reason: RevocationReason


class PrintedBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What stands on paper only, as it was handed out."""

    name: str
    id_type: str
    id_number: str
    volunteer_number: str
    in_charge: str
    handler: str
    contact: str
    notes: str
    salt: str


class PrintBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A document as it was handed out, and the form it is wanted in."""

    statement: str
    signature: str
    printed: PrintedBody
    form: Literal["pdf", "html"] = "pdf"

    def document(self) -> Document:
        """Return the document."""
        printed = {name: getattr(self.printed, name) for name in Printed.__struct_fields__}
        return Document(
            statement=self.statement, signature=self.signature, printed=Printed(**printed)
        )


class IssuedView(Struct, frozen=True, kw_only=True):
    """A new certificate; `document` is told once, and a repeat of the request has none.

    Whoever lost the answer revokes the certificate (`lost`) and issues another.
    """

    certificate: Certificate
    document: Document | UnsetType = UNSET


class SignedView(Struct, frozen=True, kw_only=True):
    """A certificate with what was signed: the breakdown, and nothing of the person."""

    certificate: Certificate
    statement: str
    signature: str


class CertificateList(Struct, frozen=True):
    """A resident's certificates, the newest first."""

    data: list[Certificate]


class CertificateView(Struct, frozen=True, kw_only=True):
    """What anybody may know who has the number."""

    number: str
    from_on: date
    until_on: date
    minutes: int
    status: CertificateStatus
