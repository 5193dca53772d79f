"""schema.sql with one fault put in: what the checks are worth is shown by what they catch."""

from dataclasses import dataclass

import asyncpg

from timebank.db import read_schema


@dataclass(frozen=True)
class Edit:
    """A piece of schema.sql and what stands in its place."""

    text: str
    replacement: str

    def apply(self, schema: str) -> str:
        """Replace the piece; a rewritten schema.sql must not disarm a variant in silence."""
        assert schema.count(self.text) == 1, f"schema.sql holds this not once: {self.text}"
        return schema.replace(self.text, self.replacement)


NO_LOCK = Edit(
    "ORDER BY b.account_id FOR NO KEY UPDATE OF b) AS locked",
    "ORDER BY b.account_id) AS locked",
)
UNSORTED_LOCKS = Edit(
    """\
    FROM (SELECT b.*, b.ctid AS place
          FROM balance b
          WHERE b.bank_id = p_bank AND b.account_id = ANY (p_accounts)
          ORDER BY b.account_id FOR NO KEY UPDATE OF b) AS locked;
""",
    """\
    FROM (SELECT * FROM (
              SELECT b.*, b.ctid AS place
              FROM balance b
              WHERE b.bank_id = p_bank AND b.account_id = ANY (p_accounts)
              ORDER BY array_position(p_accounts, b.account_id) FOR NO KEY UPDATE OF b) AS found
          ORDER BY account_id) AS locked;
""",
)
STAMP_BEFORE_THE_LOCKS = Edit(
    """\
    state := lock_balances(p_bank, p_debits || p_credits);
    stamp := greatest(clock_timestamp(), state.recorded_at);
""",
    """\
    stamp := clock_timestamp();
    state := lock_balances(p_bank, p_debits || p_credits);
    stamp := greatest(stamp, state.recorded_at);
""",
)
STAMP_OF_THE_CLOCK_ALONE = Edit(
    "stamp := greatest(clock_timestamp(), state.recorded_at);", "stamp := clock_timestamp();"
)
WRITERS_BEFORE_THE_CLOCK = Edit(
    """\
    IF p_at > clock_timestamp() THEN
        RAISE EXCEPTION 'the totals""",
    """\
    writers := array(SELECT virtualtransaction FROM pg_locks);
    PERFORM pg_sleep(1);
    IF p_at > clock_timestamp() THEN
        RAISE EXCEPTION 'the totals""",
)
NO_TURNS = Edit("IF p_size >= 500 AND", "IF false AND")
NO_TURNS_OF_REQUESTS = Edit("PERFORM take_turn(p_bank, cardinality(p_ids));", "")
TURN_AFTER_A_LOCK = Edit(
    "IF p_size >= 500 AND pg_current_xact_id_if_assigned() IS NULL", "IF p_size >= 500"
)
UNSORTED_IDS = Edit("WHERE is_new[n] ORDER BY p_ids[n];", "WHERE is_new[n];")
UNSORTED_KEYS = Edit(
    "ORDER BY caller, key, n\n    ON CONFLICT DO NOTHING;",
    "ORDER BY n\n    ON CONFLICT DO NOTHING;",
)
NO_DEDUPLICATION = Edit(
    "WHERE (t.bank_id, t.transfer_id) = (p_bank, r.id)) AS known",
    "WHERE (t.bank_id, t.transfer_id) = (p_bank, r.id) AND false) AS known",
)
NO_LOOK_BACK = Edit(
    "IF EXISTS (SELECT FROM transfer WHERE bank_id = p_bank AND transfer_id = ANY (p_ids))",
    "IF false",
)
NO_LOOK_AROUND = Edit("(SELECT count(DISTINCT id) FROM unnest(p_ids) AS id)", "cardinality(p_ids)")
FLOOR_NEVER_REACHED = Edit("IF left_d < floors", "IF left_d <= floors")
FLOOR_ONE_TOO_LOW = Edit("IF left_d < floors", "IF left_d + 1 < floors")
CEILING_NEVER_REACHED = Edit("ELSIF left_c > ceils", "ELSIF left_c >= ceils")
CEILING_ONE_TOO_HIGH = Edit("ELSIF left_c > ceils", "ELSIF left_c - 1 > ceils")
NO_CEILING_CONSTRAINT = Edit(
    ",\n    CONSTRAINT balance_not_above_ceiling CHECK (balance <= ceiling)", ""
)
PLACES_OF_THE_CALLER = Edit("p_amounts := p_amounts[:];", "")
NO_FLOOR_CONSTRAINT = Edit("    CONSTRAINT balance_not_below_floor CHECK (balance >= floor),\n", "")
NO_PASSBOOK_KEY = Edit(
    ",\n    CONSTRAINT posting_seq_gapless PRIMARY KEY (bank_id, account_id, seq)", ""
)
NO_TRANSFER_KEY = Edit("    PRIMARY KEY (bank_id, transfer_id),\n", "")
PLACED_WITHOUT_A_LOCK = Edit(
    "PERFORM lock_balances(p_bank, p_accounts);\n    INSERT INTO block", "INSERT INTO block"
)
LIFTED_WITHOUT_A_LOCK = Edit(
    """\
    PERFORM lock_balances(p_bank, array(SELECT account_id FROM blocked_points
                                        WHERE bank_id = p_bank AND block_id = p_block));
""",
    "",
)


async def install_variant(dsn: str, *edits: Edit) -> None:
    """Replace the schema of a database, as its superuser, by schema.sql with these edits."""
    schema = read_schema()
    for edit in edits:
        schema = edit.apply(schema)
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("DROP SCHEMA timebank, vault CASCADE")
        await connection.execute(schema)
    finally:
        await connection.close()
