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


class InvalidInputError(TimebankError):
    """The request cannot be understood as sent. Correct what `errors` lists and send it again."""

    code = "invalid_input"

    def __init__(self, detail: str | None = None, *, pointer: str = "") -> None:
        """`pointer` is the JSON Pointer of the fault, or the name of a parameter."""
        super().__init__(detail)
        self.pointer = pointer


class AccountExistsError(TimebankError):
    """This owner already has an account of this kind and unit. Use that one."""

    code = "account_exists"


class AsOfInFutureError(TimebankError):
    """A balance is known up to now, not later. Ask for an instant that has passed."""

    code = "as_of_in_future"


class TransferRefusedError(TimebankError):
    """The ledger refused a transfer; `status` is its code and nothing was moved."""

    code = "transfer_refused"

    def __init__(self, status: str, detail: str | None = None) -> None:
        """`status` is a TransferStatus other than posted."""
        super().__init__(detail or status)
        self.status = status


class IdempotencyKeyMissingError(TimebankError):
    """Every write needs an `Idempotency-Key` header. Send a new random one for each new request."""

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


# ---- Service -----------------------------------------------------------------------------------


class SecondPersonNeededError(TimebankError):
    """Nobody records, confirms or approves what is their own or their doing. Ask somebody else."""

    code = "second_person_needed"


class WrongStepError(TimebankError):
    """It is not in the state that this step begins from. Read it again: another was faster."""

    code = "wrong_step"


class RecordOverlapError(TimebankError):
    """Another confirmed record of this person lies in the same time. Check both, reject one."""

    code = "record_overlap"


class CapExceededError(TimebankError):
    """With this the person would have more confirmed minutes that day than the cap allows."""

    code = "cap_exceeded"


class EvidenceMissingError(TimebankError):
    """What nobody checked in needs evidence: a file, a note, or the number of a sheet."""

    code = "evidence_missing"


class RecordedAlreadyError(TimebankError):
    """This attendance, or this line of the sheet, has a record already. Use that one."""

    code = "recorded_already"


class ServiceNotOverError(TimebankError):
    """The service is not over yet. Confirm it when it is."""

    code = "service_not_over"


class AwardOfRecordError(TimebankError):
    """This award belongs to a service record. Reverse the record: the award follows it."""

    code = "award_of_record"


class CategoryExistsError(TimebankError):
    """There is a category of this code. Use that one, or another code."""

    code = "category_exists"


class RateTooEarlyError(TimebankError):
    """Service of that day or later is confirmed already. Let the rate take effect after it."""

    code = "rate_too_early"


class RateExistsError(TimebankError):
    """Another rate of this category takes effect on that day. Choose another day."""

    code = "rate_exists"


class CapsExistError(TimebankError):
    """The caps that take effect on that day are set. Choose another day."""

    code = "caps_exist"


class InsuranceMissingError(TimebankError):
    """Activities of this category are risky. Name the insurance that covers them."""

    code = "insurance_missing"


class ShiftClosedError(TimebankError):
    """The shift is cancelled or over. Choose another one."""

    code = "shift_closed"


class CheckInClosedError(TimebankError):
    """One checks in from half an hour before a shift to its end. Ask for a back-filled record."""

    code = "check_in_closed"


class CheckOutClosedError(TimebankError):
    """One checks out at the latest two hours after a shift. Ask the coordinator to review it."""

    code = "check_out_closed"


class CodeWrongError(TimebankError):
    """This is not the code that is shown now. Read it again and type it at once."""

    code = "code_wrong"


class NotOnRosterError(TimebankError):
    """You have no place at this shift. Sign up, or ask the coordinator to check you in."""

    code = "not_on_roster"


class TeamNotAttendingError(TimebankError):
    """This team does not attend the activity. Leave it out, or let the organiser add it."""

    code = "team_not_attending"
