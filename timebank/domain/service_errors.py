"""What can go wrong of service by rule; as errors.py, each docstring is message and remedy."""

from timebank.domain.errors import TimebankError


class WrongStepError(TimebankError):
    """It is not in the state that this step begins from. Read it again: another was faster."""

    code = "wrong_step"


class RecordOverlapError(TimebankError):
    """Another confirmed record of this person lies in the same time. Check both, reject one."""

    code = "record_overlap"


class CapExceededError(TimebankError):
    """With this the person would have more confirmed minutes that day than the cap allows."""

    code = "hours_cap_exceeded"


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


class StarRuleExistsError(TimebankError):
    """A rule for stars takes effect on that day already. Choose another day."""

    code = "star_rule_exists"


class GradedAlreadyError(TimebankError):
    """This record has its grade. It stays as it was given."""

    code = "graded_already"


class HonourTitleExistsError(TimebankError):
    """There is a named honour of this code. Use that one, or another code."""

    code = "honour_title_exists"


class HonourExistsError(TimebankError):
    """This person is nominated for this honour and year, or has it. Decide on that one."""

    code = "honour_exists"


class ActivityHeldError(TimebankError):
    """The activity is held for examination. Its records wait until two persons release it."""

    code = "activity_held"


class NothingToCertifyError(TimebankError):
    """In this time no service of this person is confirmed. Choose another, or confirm it first."""

    code = "nothing_to_certify"


class ImportTooLateError(TimebankError):
    """The bank keeps service records of its own. Write these down as back-fills or paper sheets."""

    code = "import_too_late"


class SigningKeyMissingError(TimebankError):
    """The bank has no key to sign this with. Make one: `timebank keys make --bank CODE`.

    Slips have keys of their own: `timebank slip make-key --bank CODE`, or POST /slip-keys.
    """

    code = "signing_key_missing"


class CertificateForgedError(TimebankError):
    """This is not what the bank signed. Ask the bank that is named on it by its number."""

    code = "certificate_forged"


class CertificateEndedError(TimebankError):
    """This certificate is revoked or superseded and is not printed again. Issue another one."""

    code = "certificate_ended"


class PublicUrlMissingError(TimebankError):
    """No https address is known for the QR code. Set TIMEBANK_PUBLIC_URL, or give --base-url."""

    code = "public_url_missing"


class PdfMissingError(TimebankError):
    """This installation makes no PDF. Install the extra: `pip install 'timebank[pdf]'`."""

    code = "pdf_missing"


class FontMissingError(TimebankError):
    """No font here has all its signs: `apt install fonts-noto-cjk`, or set TIMEBANK_FONT_DIR."""

    code = "font_missing"
