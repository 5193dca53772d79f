"""The way to PostgreSQL: pools, transactions, named queries and what its errors mean here."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import cache
from hashlib import sha256
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import asyncpg
import msgspec

from timebank.domain.errors import (
    AccountExistsError,
    AgreementExistsError,
    AlreadyRegisteredError,
    AlreadyThereError,
    AsOfInFutureError,
    BranchClosedError,
    BranchCodeTakenError,
    BranchLevelError,
    BranchNotEmptyError,
    BranchNotFoundError,
    CommunityTypeError,
    ConsentMissingError,
    DatabaseUnavailableError,
    EnrolmentNotConfirmedError,
    ExpiryRuleExistsError,
    ExpiryRuleTooEarlyError,
    ForbiddenError,
    GuardianNeededError,
    HelperRefusedError,
    MembershipRefusedError,
    NotAMemberError,
    NotFoundError,
    OutcomeUnknownError,
    OverloadedError,
    PersonsNumberError,
    RetentionRunsError,
    SchemaMismatchError,
    SecondPersonNeededError,
    ServicePointExistsError,
    ServicePointLevelError,
    SheetNotIssuedError,
    SheetUsedError,
    TimebankError,
)
from timebank.domain.service_errors import (
    ActivityHeldError,
    CapExceededError,
    CapsExistError,
    CategoryExistsError,
    EvidenceMissingError,
    GradedAlreadyError,
    HonourExistsError,
    HonourTitleExistsError,
    NothingToCertifyError,
    RateExistsError,
    RateTooEarlyError,
    RecordedAlreadyError,
    RecordOverlapError,
    ServiceNotOverError,
    ShiftClosedError,
    SigningKeyMissingError,
    StarRuleExistsError,
    WrongStepError,
)
from timebank.domain.slip_errors import SlipTooShortError
from timebank.domain.webhook_errors import (
    TooManyWebhooksError,
    WebhookDisabledError,
    WebhookStoppedError,
)

Connection: TypeAlias = Any
"""An asyncpg connection, pooled or not; asyncpg ships no types."""

Pool: TypeAlias = Any
"""An asyncpg pool."""

T = TypeVar("T")

_ERRORS_BY_CONSTRAINT: Mapping[str, type[TimebankError]] = {
    "api_key_issued_by_its_merchant": ForbiddenError,
    "card_and_pin_by_two": SecondPersonNeededError,
    "card_is_of_member": NotAMemberError,
    "consent_by_self_or_guardian": GuardianNeededError,
    "enrolment_confirmed_by_another": SecondPersonNeededError,
    "enrolment_is_confirmed": EnrolmentNotConfirmedError,
    "guardian_is_adult_of_minor": GuardianNeededError,
    "guardian_is_another": GuardianNeededError,
    "family_confirmed_by_another": SecondPersonNeededError,
    "guardian_named_by_another": SecondPersonNeededError,
    "helper_for_a_year_at_most": HelperRefusedError,
    "helper_is_another": HelperRefusedError,
    "helper_named_by_another": SecondPersonNeededError,
    "witness_is_no_kin": SecondPersonNeededError,
    "helper_is_consented_to": ConsentMissingError,
    "label_holds_no_persons_number": PersonsNumberError,
    "integrator_of_whole_bank": ForbiddenError,
    "membership_decided_by_another": SecondPersonNeededError,
    "membership_is_consented_to": ConsentMissingError,
    "membership_step_is_lawful": MembershipRefusedError,
    "minor_has_guardian": GuardianNeededError,
    "sealed_with_key_in_use": OverloadedError,
    "person_is_registered": NotFoundError,
    "person_pkey": AlreadyRegisteredError,
    "person_registered_once": AlreadyRegisteredError,
    "person_retention_is_over": RetentionRunsError,
    "sheet_needs_three_persons": SecondPersonNeededError,
    "sheet_used_once": SheetUsedError,
    "sheet_was_issued": SheetNotIssuedError,
    "account_one_per_owner_kind_unit": AccountExistsError,
    "approval_checker_is_not_beneficiary": SecondPersonNeededError,
    "approval_maker_is_not_beneficiary": SecondPersonNeededError,
    "approval_maker_is_not_checker": SecondPersonNeededError,
    "as_of_not_in_future": AsOfInFutureError,
    "branch_code_unique": BranchCodeTakenError,
    "branch_exists": BranchNotFoundError,
    "branch_hangs_on_level_above": BranchLevelError,
    "branch_is_empty": BranchNotEmptyError,
    "branch_is_open": BranchClosedError,
    "branch_moves_elsewhere": AlreadyThereError,
    "branch_type_of_community": CommunityTypeError,
    "community_type_exists": CommunityTypeError,
    "party_exists": NotFoundError,
    "party_moves_elsewhere": AlreadyThereError,
    "service_point_name_unique": ServicePointExistsError,
    "service_point_on_its_level": ServicePointLevelError,
    "service_point_one_station": ServicePointExistsError,
    "category_code_unique": CategoryExistsError,
    "rate_exists": NotFoundError,
    "rate_approver_is_another": SecondPersonNeededError,
    "rate_after_confirmed_service": RateTooEarlyError,
    "rate_one_a_day": RateExistsError,
    "service_cap_pkey": CapsExistError,
    "shift_open": ShiftClosedError,
    "record_exists": NotFoundError,
    "record_step": WrongStepError,
    "record_maker_is_another": SecondPersonNeededError,
    "record_checker_is_another": SecondPersonNeededError,
    "record_has_evidence": EvidenceMissingError,
    "record_of_attendance_once": RecordedAlreadyError,
    "record_sheet_line_once": RecordedAlreadyError,
    "record_no_overlap": RecordOverlapError,
    "record_within_cap_of_day": CapExceededError,
    "record_within_cap_of_activity": CapExceededError,
    "service_over": ServiceNotOverError,
    "grade_given_once": GradedAlreadyError,
    "grade_is_by_another": SecondPersonNeededError,
    "honour_decider_is_another": SecondPersonNeededError,
    "honour_exists": NotFoundError,
    "honour_nominator_is_another": SecondPersonNeededError,
    "honour_once_a_year": HonourExistsError,
    "honour_step": WrongStepError,
    "honour_title_code_unique": HonourTitleExistsError,
    "honour_withdrawer_is_another": SecondPersonNeededError,
    "star_rule_one_a_day": StarRuleExistsError,
    "activity_is_not_held": ActivityHeldError,
    "activity_exists": NotFoundError,
    "hold_is_open": NotFoundError,
    "hold_released_by_another": SecondPersonNeededError,
    "certificate_exists": NotFoundError,
    "certificate_issuer_is_another": SecondPersonNeededError,
    "certificate_of_confirmed_records": NothingToCertifyError,
    "certificate_step": WrongStepError,
    "wish_step": WrongStepError,
    "wish_is_granted_by_another": SecondPersonNeededError,
    "slip_is_good_for_a_day": SlipTooShortError,
    "slip_is_signed_with_its_key": SigningKeyMissingError,
    "agreement_recorded_once": AgreementExistsError,
    "endpoint_is_enabled": WebhookDisabledError,
    "endpoints_are_few": TooManyWebhooksError,
    "no_endpoint_is_stopped": WebhookStoppedError,
    "expiry_rule_one_a_day": ExpiryRuleExistsError,
    "expiry_rule_starts_later": ExpiryRuleTooEarlyError,
    "one_time_code_not_to_oneself": ForbiddenError,
}

_WORTH_REPEATING = (
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
    asyncpg.UniqueViolationError,
)
"""Another transaction came between; the next try sees what it left."""

_CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InternalClientError,  # a session that was ended while nobody used it
    asyncpg.InterfaceError,
    OSError,
)
"""The answer did not come, which says nothing about the commit."""


def load_queries(package: str) -> Mapping[str, str]:
    """Read a package's queries.sql: each query stands under a line `-- name: its_name`."""
    text = resources.files(package).joinpath("queries.sql").read_text("utf-8")
    parts = re.split(r"^-- name: (\w+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))


def read_schema() -> str:
    """Return schema.sql: from the repository when this is a checkout, else from the wheel."""
    package = Path(__file__).parent
    checkout = package.parent / "schema.sql"
    return (checkout if checkout.exists() else package / "schema.sql").read_text("utf-8")


async def install_schema(connection: Connection) -> bool:
    """Apply schema.sql to a database without it; True if it was applied now.

    Needs a login that may create roles. Raises SchemaMismatchError when the database carries
    another version. Two installers at once are harmless: one waits for the other.
    """
    async with connection.transaction():
        await connection.execute(_QUERIES["lock_schema_installation"])
        if not await connection.fetchval(_QUERIES["has_schema"]):
            await connection.execute(read_schema())
            await connection.execute(
                _QUERIES["remember_schema"].replace("$1", f"'{schema_fingerprint()}'")
            )
            return True
        await check_schema(connection)
        return False


@cache
def schema_fingerprint() -> str:
    """Return what tells this version of schema.sql from another."""
    return sha256(read_schema().encode()).hexdigest()


async def check_schema(connection: Connection) -> None:
    """Raise SchemaMismatchError unless the database was made by this schema.sql."""
    if await connection.fetchval(_QUERIES["find_schema_fingerprint"]) != schema_fingerprint():
        raise SchemaMismatchError


@asynccontextmanager
async def open_pool(dsn: str, *, size: int = 4) -> AsyncIterator[Pool]:
    """Open a pool on `dsn` whose connections see the timebank schema; closed on leaving."""
    try:
        pool = await asyncpg.create_pool(
            dsn,
            min_size=1,
            max_size=size,
            server_settings=SERVER_SETTINGS,
            command_timeout=60,
            reset=_keep_session,
        )
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DatabaseUnavailableError from error
    try:
        yield pool
    finally:
        try:
            await asyncio.wait_for(pool.close(), 5)
        except TimeoutError:
            pool.terminate()


async def _keep_session(connection: Connection) -> None:
    """Do nothing on release: no code here changes a session, and a reset is a round trip."""


SERVER_SETTINGS = {
    "search_path": "timebank",
    "application_name": "timebank",
    "timezone": "UTC",
    "synchronous_commit": "on",  # a success answer is on disk, whatever the server's default
}
"""Set at connection start: nothing in this package changes a session later."""


def translate(error: BaseException) -> TimebankError | None:
    """Return the domain error that a database error stands for, or None."""
    constraint = str(getattr(error, "constraint_name", None))
    if constraint in _ERRORS_BY_CONSTRAINT:
        return _ERRORS_BY_CONSTRAINT[constraint]()
    if isinstance(error, asyncpg.LockNotAvailableError):
        return OverloadedError()
    if is_connection_lost(error):
        return DatabaseUnavailableError()
    return refusal_of_all(error)


def refusal_of_all(error: BaseException | None) -> TimebankError | None:
    """Return what it means that the database takes nothing from anybody just now, or None."""
    if isinstance(error, asyncpg.InsufficientResourcesError):  # disk, memory
        return OverloadedError()
    if isinstance(error, asyncpg.ReadOnlySQLTransactionError):  # such as a standby
        return DatabaseUnavailableError()
    return None


def is_connection_lost(error: BaseException) -> bool:
    """Return whether the connection failed, and not an argument that asyncpg cannot encode."""
    return isinstance(error, _CONNECTION_LOST) and not isinstance(error, ValueError)


@asynccontextmanager
async def transaction(pool: Pool) -> AsyncIterator[Connection]:
    """Open a READ COMMITTED transaction; database errors leave it as domain errors."""
    try:
        async with pool.acquire() as connection, connection.transaction():
            yield connection
    except TimebankError:
        raise
    except Exception as error:
        if meaning := translate(error):
            raise meaning from error
        raise


async def repeat_on_conflict(
    pool: Pool,
    work: Callable[[Connection], Awaitable[T]],
    *,
    tries: int = 5,
    one_statement: bool = False,
) -> T:
    """Run `work` in a transaction of its own, again when another transaction came between.

    `one_statement` says that `work` is a single statement: it is a transaction by itself, and the
    round trips of BEGIN and COMMIT are saved.

    A connection lost on the way raises OutcomeUnknownError: the commit may have happened, and
    only the same request under the same key can tell.
    """
    for remaining in reversed(range(tries)):
        connection = await _acquire(pool)
        try:
            async with nullcontext() if one_statement else connection.transaction():
                return await work(connection)
        except _WORTH_REPEATING as error:
            if meaning := translate(error):
                raise meaning from error
            if not remaining:
                raise
        except _CONNECTION_LOST as error:
            if is_connection_lost(error):
                raise OutcomeUnknownError from error
            raise
        except asyncpg.PostgresError as error:
            if meaning := translate(error):
                raise meaning from error
            raise
        finally:
            with suppress(*_CONNECTION_LOST):  # lost by now: the answer stands all the same
                await pool.release(connection)
    raise AssertionError("the last try either returns or raises")


async def _acquire(pool: Pool) -> Connection:
    try:
        return await pool.acquire()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise DatabaseUnavailableError from error


def as_struct(record: Mapping[str, Any], struct: type[T]) -> T:
    """Return a row as the Struct whose fields its columns are named after."""
    return msgspec.convert(dict(record), struct)


_QUERIES = load_queries("timebank")
