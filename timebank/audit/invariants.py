"""What the books must always say, as far as reading them can tell: one list, numbered for ever.

Reconciliation, tests and the live endpoint draw on it. The numbers up to 33 are those of the list
of all invariants; those missing here are promises about behaviour, which only tests can check.
"""

from msgspec import Struct


class Invariant(Struct, frozen=True):
    """A sentence that is true of every book; the number never changes its meaning."""

    number: int
    name: str
    sentence: str


SUMS_ARE_ZERO = Invariant(
    1,
    "balances_sum_to_zero",
    "All balances of a bank and unit sum to 0, and the trial balance says so.",
)
TWO_POSTINGS = Invariant(
    2,
    "transfer_has_two_postings",
    "A posted transfer has two postings, equal and opposite; a posting is a side of one transfer.",
)
WITNESSES_AGREE = Invariant(
    3,
    "three_witnesses_agree",
    "An account has one balance row, which repeats its last posting and the sum of all.",
)
SEQ_GAPLESS = Invariant(
    4,
    "posting_seq_gapless",
    "The postings of an account are numbered 1..n, and the balance row says n.",
)
BALANCE_FOLLOWS = Invariant(
    5,
    "balance_after_follows",
    "A posting's balance after is the one before it plus its amount.",
)
WITHIN_LIMITS = Invariant(
    6,
    "balance_within_limits",
    "No balance was ever below the floor or above the ceiling of the account's kind.",
)
RECORDED_IN_ORDER = Invariant(
    7,
    "recorded_in_order",
    "recorded_at never decreases along an account's postings.",
)
REFUSED_MOVES_NOTHING = Invariant(
    9,
    "refused_moves_nothing",
    "A refused transfer has no postings.",
)
CHAIN_WHOLE = Invariant(
    10,
    "chain_all_or_nothing",
    "A chain of several is posted whole, at one instant, under the id of its first, or not at all.",
)
REQUEST_ANSWERED = Invariant(
    11,
    "request_answered_once",
    "What a request was answered with exists, is the caller's, was posted in one call and was no "
    "other request's answer.",
)
REVERSED_ONCE = Invariant(
    14,
    "transfer_reversed_once",
    "A reversal mirrors one earlier posted transfer, which has no other and is none itself.",
)
ONE_UNIT = Invariant(
    16,
    "transfer_within_unit",
    "Both accounts of a posted transfer exist in its bank and count the same unit.",
)
GUARDS_STAND = Invariant(
    17,
    "guards_stand",
    "The triggers, constraints, functions and rights that keep history unedited are in force.",
)
HELD_IS_OPEN_HOLDS = Invariant(
    18,
    "held_is_open_holds",
    "A held account stands at the sum of its open holds; each hold moved what its state says.",
)
ENDED_ONCE = Invariant(
    19,
    "hold_ended_once",
    "A hold is placed once and ends once, as its acts say: in its time, or by expiry after it.",
)
STOCK_FOLLOWS = Invariant(
    20,
    "stock_follows",
    "Stock is what was brought in less what is held or was handed over and not returned.",
)
REFUNDS_WITHIN = Invariant(
    21,
    "refunds_within_capture",
    "Refunds of a hold come to what its acts say, and to no more than was captured.",
)
SETTLED_ONCE = Invariant(
    22,
    "settled_once",
    "Settlements of a merchant cover its passbook without gap or overlap and come to its lines.",
)
CAPS_KEPT = Invariant(
    23,
    "caps_kept",
    "What counts in a cap is what was held, captured or given that day, and none is exceeded; "
    "nothing is given without an act.",
)
HOURS_UNTOUCHED = Invariant(
    24,
    "hours_untouched",
    "Redemption moves points and never hours.",
)
AWARDED_ONCE = Invariant(
    25,
    "award_of_confirmed_record",
    "Only confirmed records have awards: one chain of hours and points each, or one reversed.",
)
NO_OVERLAP = Invariant(
    26,
    "record_no_overlap",
    "No two confirmed intervals of one person overlap, and minutes are those of the interval.",
)
POINTS_EXACT = Invariant(
    27,
    "points_exact",
    "The points of a person and category are the floor of their minutes by the rates in force.",
)
THREE_PERSONS = Invariant(
    28,
    "record_of_three_persons",
    "Maker, checker and beneficiary of a record are three persons; a rate has two.",
)
LOTS_ADD_UP = Invariant(
    29,
    "lots_add_up",
    "Lots' unspent parts add up to the balance; an expiry took no more than had expired by rules "
    "that were set before their day.",
)
PLACES_ADD_UP = Invariant(
    30,
    "branch_totals_add_up",
    "One root, each branch on one of the level above, and all that is held hangs in that tree.",
)
OWNERS_REGISTERED = Invariant(
    31,
    "owner_registered",
    "Every owner of an account is in the registry, or was erased and left a bare id there; only "
    "the bank's own have none.",
)
KINDS_FIT = Invariant(
    34,
    "account_kinds_fit",
    "A transfer moves between kinds of account that its kind allows: awards come from issuance.",
)
OCCURRED_BEFORE = Invariant(
    35,
    "occurred_before_recorded",
    "Nothing occurred after it was recorded, or was posted before its account was opened; each "
    "posting knows the latest instant so far.",
)
BANK_EXISTS = Invariant(
    36,
    "bank_exists",
    "Every row belongs to a bank, and every posting to an account, that exists.",
)

CERTIFICATES_STAND = Invariant(
    37,
    "certificates_stand",
    "A certificate's total is that of its lines and of what was signed; a valid one has no record "
    "that is reversed.",
)
BLOCKS_HOLD = Invariant(
    38,
    "blocked_points_stand",
    "Nothing was spent of a wallet below what was blocked of it at that time; a block is lifted as "
    "its hold is released.",
)

SLIPS_BIND = Invariant(
    39,
    "slips_bind",
    "A slip is one hold of an open amount, which stands longer than the slip and is taken whole "
    "by the number of the slip, or expires.",
)

INVARIANTS = (
    SUMS_ARE_ZERO,
    TWO_POSTINGS,
    WITNESSES_AGREE,
    SEQ_GAPLESS,
    BALANCE_FOLLOWS,
    WITHIN_LIMITS,
    RECORDED_IN_ORDER,
    REFUSED_MOVES_NOTHING,
    CHAIN_WHOLE,
    REQUEST_ANSWERED,
    REVERSED_ONCE,
    ONE_UNIT,
    GUARDS_STAND,
    HELD_IS_OPEN_HOLDS,
    ENDED_ONCE,
    STOCK_FOLLOWS,
    REFUNDS_WITHIN,
    SETTLED_ONCE,
    CAPS_KEPT,
    HOURS_UNTOUCHED,
    AWARDED_ONCE,
    NO_OVERLAP,
    POINTS_EXACT,
    THREE_PERSONS,
    LOTS_ADD_UP,
    PLACES_ADD_UP,
    OWNERS_REGISTERED,
    KINDS_FIT,
    OCCURRED_BEFORE,
    BANK_EXISTS,
    CERTIFICATES_STAND,
    BLOCKS_HOLD,
    SLIPS_BIND,
)
"""All of them, in the order of their numbers."""
