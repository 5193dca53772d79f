"""The JSON of people. Personal data stands in bodies only, never in a path, query or header."""

from datetime import date, datetime
from typing import Annotated, Literal
from uuid import UUID

from msgspec import UNSET, Meta, Struct, UnsetType

from timebank.domain.errors import InvalidInputError
from timebank.domain.personal import FIELDS, IdDocument, IdType, PersonalData
from timebank.people.consents import ConsentKind
from timebank.people.registration import Membership, MembershipState

Name = Annotated[str, Meta(min_length=1, max_length=240)]
Telephone = Annotated[str, Meta(min_length=1, max_length=40)]
Address = Annotated[str, Meta(min_length=1, max_length=800)]
MemberNumber = Annotated[
    str, Meta(min_length=1, max_length=20, description="Ten digits, as the card says")
]
SheetNumber = Annotated[
    str, Meta(min_length=1, max_length=20, description="Nine digits, as the sheet says")
]


class IdDocumentBody(Struct, forbid_unknown_fields=True):
    """A document by type and number."""

    type: IdType
    number: Annotated[str, Meta(min_length=1, max_length=40)]


class PersonalBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is known of a person; what is left out is not known, or stays as it is."""

    name: Name | UnsetType = UNSET
    phone: Telephone | UnsetType = UNSET
    id_document: IdDocumentBody | UnsetType = UNSET
    born_on: date | UnsetType = UNSET
    address: Address | UnsetType = UNSET
    emergency_name: Name | UnsetType = UNSET
    emergency_phone: Telephone | UnsetType = UNSET

    def __repr__(self) -> str:
        """Tell nothing that is personal."""
        return f"{type(self).__name__}(…)"

    def data(self) -> PersonalData:
        """Return it as the vault takes it."""
        given = {field: getattr(self, field, UNSET) for field in FIELDS}
        document = self.id_document
        if document is not UNSET:
            given["id_document"] = IdDocument(document.type, document.number)
        return PersonalData(**given)


class PaperBody(Struct, forbid_unknown_fields=True):
    """The signed sheet that the operator types in, and who stands by as a witness."""

    sheet: SheetNumber
    witness_id: UUID


class RegisterPersonBody(PersonalBody, forbid_unknown_fields=True, kw_only=True):
    """Somebody who is no resident: a guardian, a coordinator to be."""


class RegisterBody(PersonalBody, forbid_unknown_fields=True, kw_only=True):
    """Who applies, with the sheet they signed; a minor with their guardian, who consents.

    There is no guardian without a sheet, and none acts before another approves the membership.

    They hang on `branch_id`, the caller's own if not said. `resident_id` is one known by a
    pseudonym so far. `is_another` says that somebody of the same name and telephone was compared.
    """

    consents: Annotated[list[ConsentKind], Meta(max_length=10)] = []
    paper: PaperBody | None = None
    guardian_id: UUID | None = None
    branch_id: UUID | None = None
    resident_id: UUID | None = None
    is_another: bool = False


class RegisteredView(Struct, frozen=True):
    """Who applied; `member_number` is what they are called by."""

    resident_id: UUID
    member_number: str
    is_minor: bool


class PersonView(Struct, frozen=True):
    """Whom it was about."""

    person_id: UUID


class ResidentView(Struct, frozen=True, kw_only=True):
    """A resident and where their membership stands; nothing of it is personal."""

    resident_id: UUID
    member_number: str | None
    is_minor: bool
    state: MembershipState | None


class ResidentPage(Struct, frozen=True):
    """Residents in the order of their ids."""

    data: list[ResidentView]
    next_cursor: str | None
    has_more: bool


class LookUpBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """One of them, and what for."""

    purpose: Literal["registration", "identification", "contact"]
    member_number: MemberNumber | UnsetType = UNSET
    phone: Telephone | UnsetType = UNSET
    id_document: IdDocumentBody | UnsetType = UNSET

    def __repr__(self) -> str:
        """Tell nothing that is personal."""
        return "LookUpBody(…)"


class FoundView(ResidentView, frozen=True, kw_only=True):
    """Somebody who was found; the masked name helps to tell two apart."""

    masked_name: str | None


class FoundList(Struct, frozen=True):
    """All who fit and whom the caller reaches."""

    data: list[FoundView]


class MembershipBody(Struct, forbid_unknown_fields=True):
    """What is decided about an application that somebody else entered."""

    decision: Literal["approved", "rejected"]


class PersonalView(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The fields that the purpose needs, as far as they are known."""

    person_id: UUID
    name: str | UnsetType = UNSET
    phone: str | UnsetType = UNSET
    id_document: IdDocument | UnsetType = UNSET
    born_on: date | UnsetType = UNSET
    address: str | UnsetType = UNSET
    emergency_name: str | UnsetType = UNSET
    emergency_phone: str | UnsetType = UNSET
    import_ref: str | UnsetType = UNSET

    def __repr__(self) -> str:
        """Tell nothing that is personal."""
        return "PersonalView(…)"


class FreezeBody(Struct, forbid_unknown_fields=True):
    """`retain_until`: the last day on which a law asks to keep the data; not erased before."""

    retain_until: date | None = None


class ConsentsBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """What is given (true) or withdrawn (false); at a counter with the signed sheet.

    `by_id` is the guardian who signed for a minor.
    """

    said: Annotated[dict[ConsentKind, bool], Meta(min_length=1)]
    by_id: UUID | None = None
    paper: PaperBody | None = None


class ConsentView(Struct, frozen=True, kw_only=True):
    """One word about one kind; the last of a kind is in force."""

    kind: ConsentKind
    given: bool
    by_id: UUID
    sheet: str | None
    recorded_by: UUID
    recorded_at: datetime


class ConsentList(Struct, frozen=True):
    """All that was ever said, oldest first."""

    data: list[ConsentView]


class GuardianBody(Struct, forbid_unknown_fields=True):
    """Who acts for a minor from now on, with the paper that shows it."""

    guardian_id: UUID
    paper: PaperBody


class HelperBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A member who may see the passbook and reserve, and never gives, for so many days.

    At a counter with the signed sheet; `by_id` is the guardian who signed for a minor.
    """

    member_number: MemberNumber
    days: Annotated[int, Meta(ge=1, le=366)] = 366
    by_id: UUID | None = None
    paper: PaperBody | None = None


class GuardianView(Struct, frozen=True, kw_only=True):
    """Who acts for whom; `ended_at` null is in force.

    `let_in_at` null: they only consent so far, until another person approves the membership.
    """

    minor_id: UUID
    guardian_id: UUID
    named_at: datetime
    let_in_at: datetime | None
    ended_at: datetime | None


class HelperView(Struct, frozen=True, kw_only=True):
    """Who helps whom, until `expires_at` or `ended_at`."""

    resident_id: UUID
    helper_id: UUID
    named_at: datetime
    expires_at: datetime
    ended_at: datetime | None


class KinView(Struct, frozen=True):
    """Guardians and helpers of a person, and those whom they guard or help; ended ones too."""

    guardians: list[GuardianView]
    helpers: list[HelperView]


class CardView(Struct, frozen=True):
    """A card before it is printed; shown once. `typed` stands under the QR code."""

    typed: str
    qr_svg: str
    member_number: str


class CounterCheckBody(Struct, forbid_unknown_fields=True, kw_only=True):
    """A card or a member number, and what they would like to redeem."""

    card: Annotated[str, Meta(min_length=1, max_length=300)] | UnsetType = UNSET
    member_number: MemberNumber | UnsetType = UNSET
    points: Annotated[int, Meta(ge=1, le=2**53 - 1)]

    def __repr__(self) -> str:
        """Tell nothing that opens anything."""
        return "CounterCheckBody(…)"


class CounterCheckView(Struct, frozen=True):
    """All that a merchant learns of a member."""

    masked_name: str
    enough: bool


def resident_view(membership: Membership) -> ResidentView:
    """Return what may be shown of a resident to whoever reaches them."""
    return ResidentView(
        resident_id=membership.resident_id,
        member_number=membership.member_number,
        is_minor=membership.is_minor,
        state=membership.state,
    )


def personal_view(person_id: UUID, data: PersonalData) -> PersonalView:
    """Return the fields that were read."""
    return PersonalView(person_id=person_id, **{name: getattr(data, name) for name in FIELDS})


def exactly_one(*given: object, pointer: str) -> None:
    """Raise InvalidInputError unless one of these, and one only, was given."""
    if sum(one is not UNSET for one in given) != 1:
        raise InvalidInputError("Give exactly one of them.", pointer=pointer)
