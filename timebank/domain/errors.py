"""Everything that can go wrong by rule: one class each, its docstring is the message and remedy."""

from collections.abc import Sequence
from typing import ClassVar

from msgspec import Struct


class TimebankError(Exception):
    """Something was refused."""

    code: ClassVar[str] = "refused"

    def __init__(self, detail: str | None = None) -> None:
        """`detail` says what about this case; it never holds personal data."""
        super().__init__(detail or type(self).__doc__)


class NotFoundError(TimebankError):
    """There is no such thing, or it is not yours to see. Check the id."""

    code = "not_found"


class UnauthenticatedError(TimebankError):
    """The token is missing, unknown, expired or revoked. Send `Authorization: Bearer <token>`."""

    code = "unauthenticated"


class ForbiddenError(TimebankError):
    """Your role may not do this. Ask someone whose role may."""

    code = "forbidden"


class StrongerLoginNeededError(TimebankError):
    """A card and its PIN are not enough for this. Log in with a one-time code instead."""

    code = "stronger_login_needed"


class LoginFailedError(TimebankError):
    """This did not fit together. Check what you entered, or ask at your service point."""

    code = "login_failed"


class EnrolmentNotConfirmedError(TimebankError):
    """Nobody has confirmed who enrolled. Tell your number to another than invited you."""

    code = "enrolment_not_confirmed"


class TooManyAttemptsError(TimebankError):
    """Too many attempts failed. Wait as long as `Retry-After` says, or get a one-time code."""

    code = "too_many_attempts"

    def __init__(self, wait_seconds: int = 1) -> None:
        """`wait_seconds`: how long until the next attempt is looked at."""
        super().__init__()
        self.wait_seconds = wait_seconds


class SecondPersonNeededError(TimebankError):
    """Another person must decide this: not who proposed it, nor whom it serves. Propose it."""

    code = "second_person_needed"


class ApprovalDecidedError(TimebankError):
    """This proposal was decided already. Look at what became of it."""

    code = "approval_decided"


class ApprovalLapsedError(TimebankError):
    """This proposal waited too long, or its maker may no longer have it done. Propose it anew."""

    code = "approval_lapsed"


class ApprovalContentDiffersError(TimebankError):
    """The proposal is not what you saw. Read it again and send its `content_hash`."""

    code = "approval_content_differs"


class CrossSiteRequestError(TimebankError):
    """A write with a cookie must come from our own pages. Open the page and do it there."""

    code = "cross_site_request"


class InvalidInputError(TimebankError):
    """The request cannot be understood as sent. Correct what `errors` lists and send it again."""

    code = "invalid_input"

    def __init__(self, detail: str | None = None, *, pointer: str = "") -> None:
        """`pointer` is the JSON Pointer of the fault, or the name of a parameter."""
        super().__init__(detail)
        self.pointer = pointer


class WeakSecretError(InvalidInputError):
    """This is too easy to guess. Choose another."""

    code = "weak_secret"


class AccountExistsError(TimebankError):
    """This owner already has an account of this kind and unit. Use that one."""

    code = "account_exists"


class AsOfInFutureError(TimebankError):
    """A balance is known up to now, not later. Ask for an instant that has passed."""

    code = "as_of_in_future"


class ExpiryRuleTooEarlyError(TimebankError):
    """A rule of expiry may not change what has been. Let it start tomorrow or later."""

    code = "expiry_rule_too_early"


class ExpiryRuleExistsError(TimebankError):
    """A rule of expiry starts on that day already. Let the new one start on another."""

    code = "expiry_rule_exists"


class TransferRefusedError(TimebankError):
    """The ledger refused a transfer; `status` is its code and nothing was moved."""

    code = "transfer_refused"

    def __init__(self, status: str, detail: str | None = None) -> None:
        """`status` is a TransferStatus other than posted."""
        super().__init__(detail or status)
        self.status = status


class RedemptionRefusedError(TimebankError):
    """The redemption was refused; `status` is its code and nothing was moved."""

    code = "redemption_refused"

    def __init__(self, status: str, *, cap: str | None = None, detail: str | None = None) -> None:
        """`status` is a RedemptionStatus other than done, `cap` the scope of an exceeded cap."""
        super().__init__(detail or (f"{status}: {cap}" if cap else status))
        self.status = status
        self.cap = cap


class AgreementExistsError(TimebankError):
    """This merchant has an agreement of this reference. Give the new one a reference of its own."""

    code = "agreement_exists"


class IdempotencyKeyMissingError(TimebankError):
    """This write needs an `Idempotency-Key` header. Send a new random one for each new request."""

    code = "idempotency_key_missing"


class IdempotencyKeyInUseError(TimebankError):
    """A request with this key is still being worked on. Wait a moment and send it again."""

    code = "idempotency_key_in_use"


class IdempotencyKeyReusedError(TimebankError):
    """This key was used for another request. Send a new key, or the first request exactly."""

    code = "idempotency_key_reused"


class OverloadedError(TimebankError):
    """Too much is waiting already, and nothing was done. Try again shortly, with the same key."""

    code = "overloaded"


class OutcomeUnknownError(TimebankError):
    """The answer was lost on the way. Send the request again with the same key: it counts once."""

    code = "outcome_unknown"


class DatabaseUnavailableError(TimebankError):
    """The database cannot be reached. Try again shortly; the log of the service has the cause."""

    code = "database_unavailable"


class SchemaMismatchError(TimebankError):
    """The database was made by another schema.sql. Use another database or data folder."""

    code = "schema_mismatch"


class BankNotFoundError(TimebankError):
    """There is no bank of this code. `timebank bank open CODE --name …` makes it."""

    code = "bank_not_found"

    def __init__(self, bank: str = "CODE") -> None:
        """`bank` is the code that was asked for."""
        super().__init__(f"There is no bank {bank}. `timebank bank open {bank} --name …` makes it.")


class BranchNotFoundError(TimebankError):
    """There is no branch of this id, or it is not yours to see. Check the id."""

    code = "branch_not_found"


class BranchClosedError(TimebankError):
    """This branch is closed and nothing new hangs on it. Choose another."""

    code = "branch_closed"


class BranchLevelError(TimebankError):
    """A branch hangs on one of the level right above its own. Choose a parent of that level."""

    code = "branch_level_mismatch"


class BranchCodeTakenError(TimebankError):
    """Another branch of this bank has the code, open or closed. Choose another code."""

    code = "branch_code_taken"


class BranchNotEmptyError(TimebankError):
    """Branches, people or service points hang on it, or its accounts hold something. Move them."""

    code = "branch_not_empty"


class AlreadyThereError(TimebankError):
    """It hangs there already, and nothing was changed."""

    code = "already_there"


class CommunityTypeError(TimebankError):
    """The bank has no such type, or this is no community. `timebank branch type` lists them."""

    code = "community_type_mismatch"


class ServicePointLevelError(TimebankError):
    """This kind of service point stands on branches of another level. Choose one of those."""

    code = "service_point_level_mismatch"


class ServicePointExistsError(TimebankError):
    """The branch has this service point, or a community its one station. Close that one first."""

    code = "service_point_exists"


class NumberMistypedError(TimebankError):
    """This number has a slip in it: its check digits do not fit. Read it from the paper again."""

    code = "number_mistyped"


class UnsafeKeyFileError(TimebankError):
    """The file of the master key is not safe or not a key. Make it again as the message says."""

    code = "unsafe_key_file"


class VaultKeyMissingError(TimebankError):
    """The master key that data and secrets are sealed with is not here. Put its key file back."""

    code = "vault_key_missing"


class SealBrokenError(TimebankError):
    """What is sealed here was altered and is not shown. Restore a backup."""

    code = "seal_broken"


class PersonErasedError(TimebankError):
    """This person was erased: their data cannot be read again. The book keeps their points."""

    code = "person_erased"


class PersonFrozenError(TimebankError):
    """This person's data is frozen and kept for legal duties only. It cannot be used for this."""

    code = "person_frozen"


class RetentionRunsError(TimebankError):
    """The law asks to keep this person's data for now. Freeze it, and erase it when that ends."""

    code = "retention_runs"


class AlreadyRegisteredError(TimebankError):
    """Somebody with this document is registered already. Look them up instead."""

    code = "already_registered"


class PossibleDuplicateError(TimebankError):
    """Somebody of this name and telephone is registered. Compare, then say that it is another."""

    code = "possible_duplicate"


class MembershipRefusedError(TimebankError):
    """This membership cannot go there from where it stands. Read its state again."""

    code = "membership_refused"


class NotAMemberError(TimebankError):
    """This is for approved members. Approve the application first."""

    code = "not_a_member"


class GuardianNeededError(TimebankError):
    """This person is a minor: their guardian must be known, must consent, or must do it."""

    code = "guardian_needed"


class ConsentMissingError(TimebankError):
    """Consent to this is missing or was withdrawn. Record it first, with its sheet."""

    code = "consent_missing"


class HelperRefusedError(TimebankError):
    """This person may not help so: a helper is another person, for a year at most."""

    code = "helper_refused"


class SheetUsedError(TimebankError):
    """A sheet of this number was entered or voided before. Look at what was recorded from it."""

    code = "sheet_used"


class SheetNotIssuedError(TimebankError):
    """No sheet of this number was printed for this purpose. Check the number and the form."""

    code = "sheet_not_issued"


class PersonsNumberError(TimebankError):
    """A title or name that everybody reads holds a telephone or identity number. Leave it out."""

    code = "persons_number"


class RowFault(Struct, frozen=True):
    """What is wrong with a row of a file; `line` is where the row begins, 1 is the first."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        """Return `file:line: message`, which editors can follow."""
        return f"{self.file}:{self.line}: {self.message}"


class ImportRefusedError(TimebankError):
    """The file has faulty rows, and nothing was imported. Mend the rows and import it again."""

    code = "import_refused"

    def __init__(self, rows: Sequence[RowFault]) -> None:
        """`rows` are all that were found, in the order of file and line."""
        super().__init__(f"Nothing was imported. Faulty rows to mend: {len(rows):,}.")
        self.rows = tuple(rows)
