-- timebank: the truth. Types, tables, guards, posting functions, views and roles, top to bottom.
--
-- Conventions
--   bank_id      One bank = one programme = one book. It leads every key, so a book can move whole.
--   amounts      Whole minutes (unit hours) or whole points, always positive in a transfer.
--   sign         In a posting and a balance: credit is +, debit is -. Wallets stand at or above 0,
--                issuance accounts at or below 0, and all balances of a unit sum to 0.
--   occurred_at  When the help was given. recorded_at: when the row was written. Both are instants.
--   lock order   Advisory locks, the turn of large calls last; balance rows in the order of
--                account_id; new rows in that of transfer_id. A transaction calls lock_balances or
--                post_transfers for all its accounts at once.
--   isolation    READ COMMITTED: each statement after the locks must see what was just committed.
--   append-only  account, transfer, posting and request are written by functions, never edited.

-- Roles belong to the whole server: another database may have them, or be making them now.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['timebank_owner NOLOGIN', 'timebank_vault NOLOGIN',
                                'timebank_app LOGIN', 'timebank_auditor LOGIN'] LOOP
        BEGIN
            EXECUTE 'CREATE ROLE ' || role;
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;
        END;
    END LOOP;
END $$;

-- Equality in a GiST index, for the exclusion constraint of service records. A trusted extension:
-- whoever may create in this database may install it. It stays when the schema is dropped.
CREATE EXTENSION IF NOT EXISTS btree_gist WITH SCHEMA public;

CREATE SCHEMA timebank AUTHORIZATION timebank_owner;
SET ROLE timebank_owner;
SET search_path = timebank;


-- ── Words ───────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE unit AS ENUM ('hours', 'points');
COMMENT ON TYPE unit IS 'What an account counts: hours in whole minutes, points in whole points.';

CREATE TYPE account_kind AS ENUM (
    'issuance',  -- where awards come from; never above 0
    'wallet',    -- what a resident has; never below 0
    'pool',      -- shared by a community, given out by staff; never below 0
    'debt',      -- what a resident owes after a reversal of points already spent; never above 0
    'held',      -- reserved by the open holds of one owner; never below 0
    'merchant',  -- what a merchant took in and was not settled yet; never below 0
    'retired'    -- out of use: settled with a merchant or expired; never below 0
);

CREATE TYPE transfer_kind AS ENUM (
    'award',     -- issuance -> wallet or pool: voluntary service is recognised
    'transfer',  -- between wallets and pools
    'reversal',  -- the mirror image of an earlier transfer
    'debt',      -- debt -> wallet: covers what a reversal takes back and the wallet no longer has
    'repayment', -- wallet -> debt
    'gift',      -- wallet -> wallet or pool: a resident gives
    'hold',      -- wallet or pool -> held: reserved for a redemption
    'capture',   -- held -> merchant: the redemption took place
    'release',   -- held -> where it was held from: it did not, in whole or in part
    'refund',    -- merchant -> where it was held from: the deal is undone
    'reissue',   -- merchant -> wallet or pool: a merchant gives points on
    'settlement',-- merchant -> retired: the merchant was paid for them
    'expiry',    -- wallet or pool -> retired: not spent in time
    'rounding'   -- issuance <-> wallet: the one point by which a reversal moves the carried rest
);
COMMENT ON TYPE transfer_kind IS 'What a transfer does; may_move says between which accounts.';

CREATE TYPE transfer_status AS ENUM (
    'posted',                   -- it moved the amount; every other status means it moved nothing
    'id_conflict',              -- the id is taken by other content; answered, never stored
    'amount_out_of_range',      -- below 1 or above 2^53 - 1
    'account_not_found',
    'same_account',
    'unit_mismatch',
    'account_kind_mismatch',    -- see transfer_kind for what may move where
    'occurred_in_future',
    'original_not_found',       -- a reversal names no posted transfer
    'original_is_reversal',     -- a reversal is never reversed; post the transfer anew
    'original_not_reversible',  -- of the redemption engine: a refund corrects the deal
    'original_differs',         -- not the mirror image of its original
    'already_reversed',
    'insufficient_balance',     -- the debit account would fall below its floor
    'points_blocked',           -- it would spend what is blocked while its origin is examined
    'ceiling_exceeded',         -- the credit account would rise above its ceiling
    'chain_broken'              -- another member of the chain was refused
);

CREATE TYPE reversal_reason AS ENUM (
    'recorded_in_error', 'duplicate', 'wrong_person', 'wrong_amount', 'service_not_given', 'abuse'
);
COMMENT ON TYPE reversal_reason IS 'A code, not a text: nobody can write a name into the ledger.';


-- ── Tables ──────────────────────────────────────────────────────────────────────────────────────

CREATE TABLE bank (
    bank_id          integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code             text        NOT NULL CONSTRAINT bank_code_unique UNIQUE
                                 CONSTRAINT bank_code_plain CHECK (code ~ '^[a-z][a-z0-9-]{0,31}$'),
    name             text        NOT NULL
                                 CONSTRAINT bank_name_short CHECK (length(name) BETWEEN 1 AND 80),
    time_zone        text        NOT NULL,
    points_per_hour  integer     NOT NULL
                                 CONSTRAINT bank_rate_sane
                                 CHECK (points_per_hour BETWEEN 0 AND 1000),
    cursor_key       uuid        NOT NULL DEFAULT gen_random_uuid(),
    root_id          uuid        NOT NULL DEFAULT gen_random_uuid(),
    opened_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE bank IS 'A programme with its own book.';
COMMENT ON COLUMN bank.time_zone IS 'Turns a local date into an instant; an IANA name.';
COMMENT ON COLUMN bank.cursor_key IS 'Signs page cursors, so that every worker accepts them.';
COMMENT ON COLUMN bank.root_id IS 'The branch at the top of its tree; nothing hangs above it.';

CREATE TABLE account (
    bank_id     integer      NOT NULL,
    account_id  uuid         NOT NULL,
    unit        unit         NOT NULL,
    kind        account_kind NOT NULL,
    owner_id    uuid,
    opened_at   timestamptz  NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, account_id),
    CONSTRAINT account_one_per_owner_kind_unit
        UNIQUE NULLS NOT DISTINCT (bank_id, owner_id, kind, unit),
    CONSTRAINT account_of_redemption_counts_points
        CHECK (unit = 'points' OR kind NOT IN ('held', 'merchant'))  -- hours are never redeemed
);
COMMENT ON TABLE account IS 'What never changes of an account. Append-only.';
COMMENT ON COLUMN account.owner_id IS 'A random id of the registry; null for the bank''s own.';

CREATE TABLE balance (
    bank_id          integer      NOT NULL,
    account_id       uuid         NOT NULL,
    unit             unit         NOT NULL,
    kind             account_kind NOT NULL,
    balance          bigint       NOT NULL DEFAULT 0,
    seq              bigint       NOT NULL DEFAULT 0,
    floor            bigint       NOT NULL,
    ceiling          bigint       NOT NULL,
    recorded_at      timestamptz  NOT NULL DEFAULT '-infinity',
    occurred_latest  timestamptz  NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (bank_id, account_id),
    CONSTRAINT balance_not_below_floor CHECK (balance >= floor),
    CONSTRAINT balance_not_above_ceiling CHECK (balance <= ceiling)
) WITH (fillfactor = 50);
COMMENT ON TABLE balance IS
    'The one hot mutable table: each account''s last posting, rebuilt from history by the audit. '
    'It has all that posting asks of an account, so that nothing else is read.';
COMMENT ON COLUMN balance.unit IS 'As in account, like kind; the audit compares.';
COMMENT ON COLUMN balance.seq IS 'The number of postings, and the number of the last one.';

CREATE TABLE transfer (
    bank_id            integer         NOT NULL,
    transfer_id        uuid            NOT NULL,
    kind               transfer_kind   NOT NULL,
    status             transfer_status NOT NULL,
    debit_account_id   uuid            NOT NULL,
    credit_account_id  uuid            NOT NULL,
    amount             bigint          NOT NULL,
    occurred_at        timestamptz     NOT NULL,
    recorded_at        timestamptz     NOT NULL,
    debit_seq          bigint,
    credit_seq         bigint,
    actor_id           uuid            NOT NULL,
    chain_id           uuid,
    subject_id         uuid,
    reverses_id        uuid,
    reason             reversal_reason,
    PRIMARY KEY (bank_id, transfer_id),
    CONSTRAINT transfer_has_postings_iff_posted CHECK (
        (status = 'posted') = (debit_seq IS NOT NULL) AND
        (status = 'posted') = (credit_seq IS NOT NULL)),
    CONSTRAINT transfer_amount_positive CHECK (status <> 'posted' OR amount > 0),
    CONSTRAINT transfer_between_two_accounts CHECK (
        status <> 'posted' OR debit_account_id <> credit_account_id),
    CONSTRAINT transfer_conflict_not_stored CHECK (status <> 'id_conflict'),
    CONSTRAINT transfer_reversal_names_original_and_reason CHECK (
        (kind = 'reversal') = (reverses_id IS NOT NULL) AND
        (kind = 'reversal') = (reason IS NOT NULL))
);
COMMENT ON TABLE transfer IS
    'The journal: every transfer ever decided, posted or refused, so an id is answered for ever.';
COMMENT ON COLUMN transfer.chain_id IS 'The chain''s first transfer; null outside chains.';
COMMENT ON COLUMN transfer.subject_id IS 'What it is about: an activity, a record, an offer.';
COMMENT ON COLUMN transfer.actor_id IS 'The principal who asked for it.';

CREATE UNIQUE INDEX transfer_reversed_once ON transfer (bank_id, reverses_id)
    WHERE reverses_id IS NOT NULL AND status = 'posted';
CREATE INDEX transfer_chain ON transfer (bank_id, chain_id) WHERE chain_id IS NOT NULL;

CREATE TABLE posting (
    bank_id          integer     NOT NULL,
    account_id       uuid        NOT NULL,
    seq              bigint      NOT NULL,
    transfer_id      uuid        NOT NULL,
    amount           bigint      NOT NULL CONSTRAINT posting_not_zero CHECK (amount <> 0),
    balance_after    bigint      NOT NULL,
    occurred_at      timestamptz NOT NULL,
    occurred_latest  timestamptz NOT NULL,
    recorded_at      timestamptz NOT NULL,
    CONSTRAINT posting_seq_gapless PRIMARY KEY (bank_id, account_id, seq)
);
COMMENT ON TABLE posting IS 'The passbook: per account a gapless line for each transfer.';
COMMENT ON COLUMN posting.occurred_latest IS
    'The latest occurred_at of lines 1..seq. Like recorded_at it never decreases along seq, '
    'so a line is found by bisection; a line below it is back-dated.';

CREATE INDEX posting_back_dated ON posting (bank_id, account_id, seq)
    WHERE occurred_at < occurred_latest;

CREATE TABLE request (
    bank_id       integer     NOT NULL,
    caller_id     uuid        NOT NULL,
    key           text        NOT NULL
                              CONSTRAINT request_key_short CHECK (length(key) BETWEEN 1 AND 255),
    fingerprint   bytea       NOT NULL,
    transfer_ids  uuid[],
    answer        json,
    recorded_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT request_answered_once PRIMARY KEY (bank_id, caller_id, key),
    CONSTRAINT request_answered_one_way CHECK (num_nonnulls(transfer_ids, answer) = 1)
);
COMMENT ON TABLE request IS
    'Idempotency: what a caller''s key was used for and what was answered, in the same commit.';
COMMENT ON COLUMN request.fingerprint IS 'SHA-256 of method, path and body.';
COMMENT ON COLUMN request.transfer_ids IS
    'For postings the answer is the transfers themselves, in order: they never change.';


-- ── Guards: history is not edited, whoever asks ─────────────────────────────────────────────────

CREATE FUNCTION refuse_edit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on %.% refused: history is append-only; post a reversal instead',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION refuse_edit IS 'Stops update, delete and truncate, even by the owner.';

CREATE FUNCTION refuse_insert_by_hand() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    callers text;
BEGIN
    GET DIAGNOSTICS callers = PG_CONTEXT;
    IF callers !~ '(^|\n)[^"«»„“\n]*PL/pgSQL[^"«»„“\n]*'
                  '[^a-z_.](post_transfers|post_requests|answer_request|record_act)\(' THEN
        RAISE EXCEPTION 'INSERT on %.% refused: history is written by post_transfers only',
            TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION refuse_insert_by_hand IS
    'Looks for our functions in the call stack, whose other words are in the server''s language. '
    'The text of a statement stands there too, in marks, and says nothing of who calls.';

CREATE FUNCTION refuse(p_rule text, p_why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', p_why
        USING ERRCODE = 'check_violation', CONSTRAINT = p_rule, DETAIL = p_why;
END $$;
COMMENT ON FUNCTION refuse IS 'Refuses as a constraint of this name would; p_why is the detail.';

CREATE FUNCTION refuse_revival() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'what has ended in % stays ended', TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = 'what_ended_stays_ended';
END $$;

CREATE FUNCTION make_final(p_table text, p_column text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER %1$s_stays_ended BEFORE UPDATE OF %2$I ON timebank.%1$I '
        'FOR EACH ROW WHEN (OLD.%2$I IS NOT NULL AND NEW.%2$I IS DISTINCT FROM OLD.%2$I) '
        'EXECUTE FUNCTION timebank.refuse_revival()', p_table, p_column);
END $$;
COMMENT ON FUNCTION make_final IS
    'Lets the instant at which a row ended be written once: what was revoked never resumes.';

CREATE FUNCTION make_append_only(p_table text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER %1$s_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE '
        'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_edit()', p_table);
    EXECUTE format('ALTER TABLE timebank.%1$s ENABLE ALWAYS TRIGGER %1$s_is_append_only', p_table);
END $$;
COMMENT ON FUNCTION make_append_only IS 'Guards a table against update, delete and truncate.';

SELECT make_append_only('account'), make_append_only('transfer'), make_append_only('posting'),
       make_append_only('request');
DO $$
DECLARE
    history text;
BEGIN
    FOREACH history IN ARRAY ARRAY['transfer', 'posting', 'request'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_is_written_by_functions BEFORE INSERT '
            'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_insert_by_hand()',
            history);
        EXECUTE format('ALTER TABLE timebank.%1$s '
            'ENABLE ALWAYS TRIGGER %1$s_is_written_by_functions', history);
    END LOOP;
END $$;


-- ── Posting ─────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION open_accounts(
    p_bank integer, p_accounts uuid[], p_units unit[], p_kinds account_kind[], p_owners uuid[]
) RETURNS SETOF account LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    INSERT INTO balance (bank_id, account_id, unit, kind, floor, ceiling)
    SELECT p_bank, id, unit, kind,
           CASE WHEN kind IN ('issuance', 'debt') THEN 1 - (1::bigint << 53) ELSE 0 END,
           CASE WHEN kind IN ('issuance', 'debt') THEN 0 ELSE (1::bigint << 53) - 1 END
    FROM unnest(p_accounts, p_units, p_kinds) AS r(id, unit, kind);
    INSERT INTO account (bank_id, account_id, unit, kind, owner_id)
    SELECT p_bank, id, unit, kind, owner
    FROM unnest(p_accounts, p_units, p_kinds, p_owners) AS r(id, unit, kind, owner)
    RETURNING *;
$$;
COMMENT ON FUNCTION open_accounts IS
    'Accounts and their balance rows, from arrays of one length; the kind sets the limits.';

CREATE FUNCTION may_move(p_kind transfer_kind, p_debit account_kind, p_credit account_kind)
RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE p_kind
        WHEN 'award' THEN p_debit = 'issuance' AND p_credit IN ('wallet', 'pool')
        WHEN 'transfer' THEN p_debit IN ('wallet', 'pool') AND p_credit IN ('wallet', 'pool')
        WHEN 'debt' THEN p_debit = 'debt' AND p_credit = 'wallet'
        WHEN 'repayment' THEN p_debit = 'wallet' AND p_credit = 'debt'
        WHEN 'gift' THEN p_debit = 'wallet' AND p_credit IN ('wallet', 'pool')
        WHEN 'hold' THEN p_debit IN ('wallet', 'pool') AND p_credit = 'held'
        WHEN 'capture' THEN p_debit = 'held' AND p_credit = 'merchant'
        WHEN 'release' THEN p_debit = 'held' AND p_credit IN ('wallet', 'pool')
        WHEN 'refund' THEN p_debit = 'merchant' AND p_credit IN ('wallet', 'pool')
        WHEN 'reissue' THEN p_debit = 'merchant' AND p_credit IN ('wallet', 'pool')
        WHEN 'settlement' THEN p_debit = 'merchant' AND p_credit = 'retired'
        WHEN 'expiry' THEN p_debit IN ('wallet', 'pool') AND p_credit = 'retired'
        WHEN 'rounding' THEN (p_debit, p_credit) IN (('issuance', 'wallet'), ('wallet', 'issuance'))
        ELSE true  -- a reversal is judged by its original
    END;
$$;
COMMENT ON FUNCTION may_move IS 'Whether a transfer of this kind may move between these accounts.';

CREATE FUNCTION is_reversible(p_kind transfer_kind) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_kind NOT IN ('hold', 'capture', 'release', 'refund', 'settlement', 'rounding');
$$;
COMMENT ON FUNCTION is_reversible IS
    'Whether the book may be corrected by a reversal; what belongs to a redemption or to another '
    'reversal is undone with it.';

CREATE TYPE locked_balances AS (
    account_ids      uuid[],
    units            unit[],
    kinds            account_kind[],
    balances         bigint[],
    seqs             bigint[],
    floors           bigint[],
    ceilings         bigint[],
    latests          timestamptz[],
    recorded_at      timestamptz,
    places           tid[]
);

CREATE FUNCTION lock_balances(p_bank integer, p_accounts uuid[]) RETURNS locked_balances
LANGUAGE sql SECURITY DEFINER
SET search_path = timebank, pg_temp
SET enable_seqscan = off     -- also in a plan that was made while the table was empty
SET enable_bitmapscan = off  -- the index gives the rows in their order: nothing to sort
AS $$
    SELECT array_agg(account_id), array_agg(unit), array_agg(kind), array_agg(balance),
           array_agg(seq), array_agg(floor), array_agg(ceiling), array_agg(occurred_latest),
           max(recorded_at), array_agg(place)
    FROM (SELECT b.*, b.ctid AS place
          FROM balance b
          WHERE b.bank_id = p_bank AND b.account_id = ANY (p_accounts)
          ORDER BY b.account_id FOR NO KEY UPDATE OF b) AS locked;
$$;
COMMENT ON FUNCTION lock_balances IS
    'Locks balance rows in the order of account_id and reads them.';

CREATE FUNCTION find_reversal_fault_here(
    p_place integer, p_original integer, p_rival integer, p_kinds transfer_kind[],
    p_reverses uuid[], p_debits integer[], p_credits integer[], p_amounts bigint[],
    p_statuses transfer_status[]
) RETURNS transfer_status LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN p_original IS NOT NULL AND p_statuses[p_original] IS DISTINCT FROM 'posted'
            THEN 'original_not_found'::transfer_status
        WHEN p_reverses[p_original] IS NOT NULL THEN 'original_is_reversal'
        WHEN NOT is_reversible(p_kinds[p_original]) THEN 'original_not_reversible'
        WHEN (p_credits[p_original], p_debits[p_original], p_amounts[p_original])
             <> (p_debits[p_place], p_credits[p_place], p_amounts[p_place]) THEN 'original_differs'
        WHEN p_statuses[p_rival] = 'posted' THEN 'already_reversed'
    END;
$$;
COMMENT ON FUNCTION find_reversal_fault_here IS
    'Why this cannot be a reversal, or null, by what was decided before it in the same call; '
    'p_original is the place of its original if that is of this call too, p_rival of the last '
    'reversal of the same original that could be one.';

CREATE FUNCTION decide_transfers(
    p_ids uuid[], p_kinds transfer_kind[], p_chain_ids uuid[], p_verdicts transfer_status[],
    p_repeats integer[], p_debits integer[], p_credits integer[], p_amounts bigint[],
    p_occurred timestamptz[], p_reverses uuid[], p_originals integer[], p_firsts integer[],
    p_state locked_balances, p_blocked bigint[],
    OUT statuses transfer_status[], OUT last_legs integer[], OUT balances bigint[],
    OUT seqs bigint[], OUT latests timestamptz[]
) LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    base    integer := coalesce(cardinality(p_state.balances), 0);
    before  integer[] := array_fill(NULL::integer, ARRAY[base + 2 * cardinality(p_ids)]);
    rivals  integer[] := p_firsts;
    floors  bigint[] := p_state.floors;  ceils bigint[] := p_state.ceilings;
    chain   uuid;    head   integer;  broken boolean;  leg integer;
    debit   integer; credit integer;  left_d bigint;   left_c bigint;
BEGIN
    statuses := p_verdicts;
    last_legs := array(SELECT generate_series(1, base));
    balances := p_state.balances || array_fill(NULL::bigint, ARRAY[2 * cardinality(p_ids)]);
    seqs := p_state.seqs || array_fill(NULL::bigint, ARRAY[2 * cardinality(p_ids)]);
    latests := p_state.latests || array_fill(NULL::timestamptz, ARRAY[2 * cardinality(p_ids)]);
    FOR i IN 1 .. cardinality(p_ids) LOOP
        IF p_chain_ids[i] = p_ids[i] OR p_chain_ids[i] IS DISTINCT FROM chain THEN
            chain := p_chain_ids[i];
            head := i;  broken := chain <> p_ids[i];
        END IF;
        leg := base + 2 * i;
        debit := last_legs[p_debits[i]];
        credit := last_legs[p_credits[i]];
        IF p_reverses[i] IS NOT NULL AND statuses[i] IS NULL AND p_repeats[i] IS NULL THEN
            statuses[i] := find_reversal_fault_here(
                i, p_originals[i], rivals[p_firsts[i]], p_kinds, p_reverses, p_debits, p_credits,
                p_amounts, statuses);
            IF statuses[i] IS NULL THEN
                rivals[p_firsts[i]] := i;  -- while one of them stands, no other comes here
            END IF;
        END IF;
        IF statuses[i] IS NOT NULL OR p_repeats[i] IS NOT NULL THEN
            NULL;  -- decided before: nothing new happens, and a chain around it is broken
        ELSIF broken THEN
            statuses[i] := 'chain_broken';
        ELSE
            left_d := balances[debit] - p_amounts[i];  -- not before: the amount may have been any
            left_c := balances[credit] + p_amounts[i];
            IF left_d < floors[p_debits[i]] THEN
                statuses[i] := 'insufficient_balance';
            ELSIF left_d < p_blocked[i] THEN
                statuses[i] := 'points_blocked';
            ELSIF left_c > ceils[p_credits[i]] THEN
                statuses[i] := 'ceiling_exceeded';
            ELSE
                statuses[i] := 'posted';
                IF chain IS NOT NULL THEN
                    before[leg - 1] := debit;  before[leg] := credit;
                END IF;
                balances[leg - 1] := left_d;
                balances[leg] := left_c;
                seqs[leg - 1] := seqs[debit] + 1;
                seqs[leg] := seqs[credit] + 1;
                latests[leg - 1] := greatest(latests[debit], p_occurred[i]);
                latests[leg] := greatest(latests[credit], p_occurred[i]);
                last_legs[p_debits[i]] := leg - 1;
                last_legs[p_credits[i]] := leg;
                CONTINUE;
            END IF;
        END IF;
        IF chain IS NOT NULL AND NOT broken THEN
            broken := true;
            FOR u IN REVERSE i - 1 .. head LOOP
                CONTINUE WHEN seqs[base + 2 * u] IS NULL;
                statuses[u] := 'chain_broken';
                seqs[base + 2 * u - 1] := NULL;
                seqs[base + 2 * u] := NULL;
                last_legs[p_debits[u]] := before[base + 2 * u - 1];
                last_legs[p_credits[u]] := before[base + 2 * u];
            END LOOP;
        END IF;
        statuses[i] := coalesce(statuses[p_repeats[i]], statuses[i]);
    END LOOP;
END $$;
COMMENT ON FUNCTION decide_transfers IS
    'Pure: takes transfers in order against the locked state. A verdict given beforehand stands, a '
    'repeat follows the row it repeats; the rest is posted or refused by floor, what is blocked of '
    'it (null: nothing, or it spends nothing), ceiling and chain, '
    'and each decision changes what follows. Debits and credits are places in the locked arrays. '
    'Answers in legs: the locked balances as they stood, then the debit and the credit of each '
    'transfer in turn, without a seq where nothing was posted; last_legs has one of each account.';

CREATE FUNCTION find_reversal_fault(
    p_bank integer, p_original uuid, p_debit uuid, p_credit uuid, p_amount bigint
) RETURNS transfer_status LANGUAGE plpgsql STABLE AS $$
DECLARE
    original transfer;
BEGIN
    SELECT * INTO original FROM transfer
    WHERE bank_id = p_bank AND transfer_id = p_original AND status = 'posted';
    RETURN CASE
        WHEN NOT FOUND THEN 'original_not_found'
        WHEN original.kind = 'reversal' THEN 'original_is_reversal'
        WHEN NOT is_reversible(original.kind) THEN 'original_not_reversible'
        WHEN (original.credit_account_id, original.debit_account_id, original.amount)
             <> (p_debit, p_credit, p_amount) THEN 'original_differs'
        WHEN EXISTS (SELECT FROM transfer WHERE bank_id = p_bank AND reverses_id = p_original
                     AND status = 'posted') THEN 'already_reversed'
    END;
END $$;
COMMENT ON FUNCTION find_reversal_fault IS
    'Why this cannot be the reversal of an original of an earlier call, or null. The accounts of '
    'both are locked, so nobody else is reversing it now.';

CREATE FUNCTION recall_transfers(
    p_bank integer, p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[],
    p_amounts bigint[], p_occurred timestamptz[], p_actors uuid[], p_chain_ids uuid[],
    p_subjects uuid[], p_reverses uuid[], p_reasons reversal_reason[], p_stamp timestamptz
) RETURNS TABLE (place integer, verdict transfer_status, repeats integer, recorded_at timestamptz)
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT n, CASE
               WHEN (known).transfer_id IS NULL THEN
                   CASE WHEN content IS DISTINCT FROM first_content
                        THEN 'id_conflict'::transfer_status END
               WHEN content IS NOT DISTINCT FROM (
                   (known).kind, (known).debit_account_id, (known).credit_account_id,
                   (known).amount,
                   CASE WHEN occurred = p_stamp AND (known).occurred_at = (known).recorded_at
                        THEN p_stamp ELSE (known).occurred_at END,  -- null: when it is recorded
                   (known).actor_id, (known).chain_id, (known).subject_id, (known).reverses_id,
                   (known).reason) THEN (known).status
               ELSE 'id_conflict' END,
           CASE WHEN (known).transfer_id IS NULL AND content IS NOT DISTINCT FROM first_content
                THEN first END,
           coalesce((known).recorded_at, p_stamp)
    FROM (
        SELECT n::integer, occurred, content, first_value(n::integer) OVER same_id AS first,
               first_value(content) OVER same_id AS first_content,
               (SELECT t FROM transfer t
                WHERE (t.bank_id, t.transfer_id) = (p_bank, r.id)) AS known
        FROM (SELECT *, (kind, debit, credit, amount, occurred, actor, chain, subject,
                         reverses, reason) AS content
              FROM unnest(p_ids, p_kinds, p_debits, p_credits, p_amounts, p_occurred, p_actors,
                          p_chain_ids, p_subjects, p_reverses, p_reasons) WITH ORDINALITY
                   AS u(id, kind, debit, credit, amount, occurred, actor, chain, subject,
                        reverses, reason, n)) AS r
        WINDOW same_id AS (PARTITION BY r.id ORDER BY n)) AS recalled
    WHERE (known).transfer_id IS NOT NULL OR first < n;
$$;
COMMENT ON FUNCTION recall_transfers IS
    'The transfers whose id was used before, in an earlier call or within this one.';

CREATE FUNCTION examine_transfers(
    p_bank integer, p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[],
    p_amounts bigint[], p_occurred timestamptz[], p_actors uuid[], p_chain_ids uuid[],
    p_subjects uuid[], p_reverses uuid[], p_reasons reversal_reason[], p_state locked_balances,
    p_stamp timestamptz, OUT verdicts transfer_status[], OUT repeats integer[],
    OUT debits integer[], OUT credits integer[], OUT originals integer[], OUT firsts integer[],
    OUT is_new boolean[], OUT recorded_ats timestamptz[]
) LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    recalled record;
BEGIN
    SELECT array_agg(fault), array_agg(d), array_agg(c)
    INTO verdicts, debits, credits
    FROM (SELECT d, c, CASE
              WHEN amount NOT BETWEEN 1 AND (1::bigint << 53) - 1
                  THEN 'amount_out_of_range'::transfer_status
              WHEN (p_state.account_ids[d] = debit AND p_state.account_ids[c] = credit)
                  IS NOT TRUE THEN 'account_not_found'
              WHEN d = c THEN 'same_account'
              WHEN p_state.units[d] <> p_state.units[c] THEN 'unit_mismatch'
              WHEN occurred > p_stamp THEN 'occurred_in_future'
              WHEN kind = 'reversal' THEN
                  find_reversal_fault(p_bank, reverses, debit, credit, amount)
              WHEN NOT may_move(kind, p_state.kinds[d], p_state.kinds[c])
                  THEN 'account_kind_mismatch'
          END AS fault
          FROM (SELECT *, width_bucket(debit, p_state.account_ids) AS d,
                       width_bucket(credit, p_state.account_ids) AS c
                FROM unnest(p_kinds, p_debits, p_credits, p_amounts, p_occurred, p_reverses)
                     WITH ORDINALITY
                     AS u(kind, debit, credit, amount, occurred, reverses, n)
                OFFSET 0) AS r
          ORDER BY n) AS judged;
    IF p_reverses IS NOT NULL THEN
        SELECT array_agg(CASE WHEN verdicts[n] = 'original_not_found' THEN place END ORDER BY n),
               array_agg(first ORDER BY n)
        INTO originals, firsts
        FROM (SELECT n, is_id, min(n) FILTER (WHERE is_id) OVER met AS place,
                     min(n) FILTER (WHERE NOT is_id) OVER met AS first
              FROM (SELECT id, n::integer, true
                    FROM unnest(p_ids) WITH ORDINALITY AS u(id, n)
                    UNION ALL
                    SELECT id, n::integer, false
                    FROM unnest(p_reverses) WITH ORDINALITY AS u(id, n)) AS named(id, n, is_id)
              WINDOW met AS (PARTITION BY id)) AS traced
        WHERE NOT is_id;
        verdicts := array(SELECT CASE WHEN place IS NULL THEN verdict END
                          FROM unnest(verdicts, originals) WITH ORDINALITY AS u(verdict, place, n)
                          ORDER BY n);
    END IF;
    repeats := array_fill(NULL::integer, ARRAY[cardinality(p_ids)]);
    is_new := array_fill(true, ARRAY[cardinality(p_ids)]);
    recorded_ats := array_fill(p_stamp, ARRAY[cardinality(p_ids)]);
    IF EXISTS (SELECT FROM transfer WHERE bank_id = p_bank AND transfer_id = ANY (p_ids))
       OR (SELECT count(DISTINCT id) FROM unnest(p_ids) AS id) < cardinality(p_ids) THEN
        FOR recalled IN
            SELECT * FROM recall_transfers(p_bank, p_ids, p_kinds, p_debits, p_credits, p_amounts,
                                           p_occurred, p_actors, p_chain_ids, p_subjects,
                                           p_reverses, p_reasons, p_stamp)
        LOOP
            verdicts[recalled.place] := recalled.verdict;
            repeats[recalled.place] := recalled.repeats;
            recorded_ats[recalled.place] := recalled.recorded_at;
            is_new[recalled.place] := false;
        END LOOP;
    END IF;
END $$;
COMMENT ON FUNCTION examine_transfers IS
    'What can be said of each transfer before its turn: known from an earlier call, a repeat '
    'within this one, or faulty in itself whatever the balances are; originals are the places of '
    'those that are reversed in the call that posts them, firsts of who first names the same.';

CREATE FUNCTION for_each(p_column anyarray, p_size integer) RETURNS anyarray
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE WHEN cardinality(p_column) = 1
                THEN array_fill(p_column[1], ARRAY[p_size]) ELSE p_column END;
$$;
COMMENT ON FUNCTION for_each IS 'A column of p_size rows: as it is, or its one value repeated.';

CREATE FUNCTION take_turn(p_bank integer, p_size integer) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF p_size >= 500 AND pg_current_xact_id_if_assigned() IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtextextended('timebank large calls', p_bank));
    END IF;
END $$;
COMMENT ON FUNCTION take_turn IS
    'Large calls meet at nearly every row, so they take turns before the first. Only a transaction '
    'that has locked and written nothing yet (either takes an id) waits: no deadlock.';

CREATE FUNCTION post_transfers(
    p_bank integer, p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[],
    p_amounts bigint[], p_occurred timestamptz[], p_actors uuid[], p_chain_ids uuid[],
    p_subjects uuid[], p_reverses uuid[], p_reasons reversal_reason[],
    OUT statuses transfer_status[], OUT recorded_ats timestamptz[]
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off  -- also in plans that were made while the tables were empty
AS $$
DECLARE
    size   integer := cardinality(p_ids);
    state  locked_balances;
    seen   record;
    stamp  timestamptz;
    dated  timestamptz[];
    is_new boolean[];
    last_legs integer[];
    balances  bigint[];       seqs   bigint[];
    latests   timestamptz[];  base   integer;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'post_transfers needs READ COMMITTED' USING ERRCODE = '25001';
    END IF;
    IF (size, size, size, size, size, size) IS DISTINCT FROM (
            cardinality(p_kinds), cardinality(p_debits), cardinality(p_credits),
            cardinality(p_amounts), cardinality(p_occurred), cardinality(p_actors))
        OR size < greatest(cardinality(p_chain_ids), cardinality(p_subjects),
                           cardinality(p_reverses), cardinality(p_reasons)) THEN
        RAISE EXCEPTION 'post_transfers needs arrays of one length' USING ERRCODE = '2202E';
    END IF;
    PERFORM take_turn(p_bank, size);
    -- A slice begins at 1, wherever the caller's array does: places mean the same everywhere.
    p_ids := p_ids[:];             p_kinds := p_kinds[:];          p_debits := p_debits[:];
    p_credits := p_credits[:];     p_amounts := p_amounts[:];      p_actors := p_actors[:];
    p_chain_ids := p_chain_ids[:]; p_subjects := p_subjects[:];    p_reverses := p_reverses[:];
    p_reasons := p_reasons[:];
    state := lock_balances(p_bank, p_debits || p_credits);
    stamp := greatest(clock_timestamp(), state.recorded_at);
    dated := array(SELECT coalesce(occurred, stamp) FROM unnest(p_occurred) AS occurred);
    SELECT * INTO seen FROM examine_transfers(
        p_bank, p_ids, p_kinds, p_debits, p_credits, p_amounts, dated, p_actors, p_chain_ids,
        p_subjects, p_reverses, p_reasons, state, stamp);
    SELECT * INTO statuses, last_legs, balances, seqs, latests
    FROM decide_transfers(p_ids, p_kinds, p_chain_ids, seen.verdicts, seen.repeats, seen.debits,
                          seen.credits, p_amounts, dated, p_reverses, seen.originals, seen.firsts,
                          state, list_blocked(p_bank, p_kinds, p_debits));
    recorded_ats := seen.recorded_ats;
    is_new := seen.is_new;
    base := coalesce(cardinality(state.places), 0);

    INSERT INTO transfer
    SELECT p_bank, p_ids[n], p_kinds[n], statuses[n], p_debits[n], p_credits[n], p_amounts[n],
           dated[n], stamp, seqs[base + 2 * n - 1], seqs[base + 2 * n], p_actors[n],
           p_chain_ids[n], p_subjects[n], p_reverses[n], p_reasons[n]
    FROM generate_series(1, size) AS n
    WHERE is_new[n] ORDER BY p_ids[n];

    INSERT INTO posting
    SELECT p_bank, account, seqs[leg], p_ids[n], amount, balances[leg], dated[n], latests[leg],
           stamp
    FROM (SELECT n, p_debits[n] AS account, -p_amounts[n] AS amount, base + 2 * n - 1 AS leg
          FROM generate_series(1, size) AS n
          UNION ALL
          SELECT n, p_credits[n], p_amounts[n], base + 2 * n
          FROM generate_series(1, size) AS n) AS legs
    WHERE seqs[leg] IS NOT NULL
    ORDER BY account, seqs[leg];

    -- A locked row stays where it is: its place in the table is the shortest way back to it.
    UPDATE balance b SET balance = balances[r.leg], seq = seqs[r.leg],
                         occurred_latest = latests[r.leg], recorded_at = stamp
    FROM unnest(state.places, last_legs) AS r(place, leg)
    WHERE b.ctid = r.place AND r.leg > base;
END $$;
COMMENT ON FUNCTION post_transfers IS
    'The one way in: N transfers, decided in order, in one call. Arrays of one length; chains are '
    'runs of one chain_id, the id of their first transfer, which begins one. Answers status and '
    'instant of each. A unique violation on transfer_pkey means that another call has just used an '
    'id: call again.';


-- ── Requests: the same answer to the same key ───────────────────────────────────────────────────

CREATE FUNCTION find_request(p_bank integer, p_caller uuid, p_key text) RETURNS SETOF request
LANGUAGE sql STABLE AS $$
    SELECT * FROM timebank.request
    WHERE bank_id = p_bank AND caller_id = p_caller AND key = p_key
    LIMIT 1;
$$;
COMMENT ON FUNCTION find_request IS
    'The request of a key, if any. The limit keeps it one index probe wherever it is joined, also '
    'in a plan that was made while the table was empty.';

CREATE FUNCTION post_requests(
    p_bank integer, p_callers uuid[], p_keys text[], p_fingerprints bytea[], p_requests integer[],
    p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[], p_amounts bigint[],
    p_occurred timestamptz[], p_chain_ids uuid[], p_subjects uuid[]
) RETURNS TABLE (request integer, outcome text, transfer_id uuid, status transfer_status,
                 recorded_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET plan_cache_mode = force_generic_plan AS $$
#variable_conflict use_column
DECLARE
    outcomes text[];
    numbers  integer[];
    ids      uuid[];
    decided  transfer_status[];
    instants timestamptz[];
BEGIN
    PERFORM take_turn(p_bank, cardinality(p_ids));

    INSERT INTO request (bank_id, caller_id, key, fingerprint, transfer_ids)
    SELECT p_bank, caller, key, fingerprint, own.ids
    FROM unnest(p_callers, p_keys, p_fingerprints) WITH ORDINALITY AS r(caller, key, fingerprint, n)
    JOIN (SELECT request, array_agg(id ORDER BY place) AS ids
          FROM unnest(p_requests, p_ids) WITH ORDINALITY AS t(request, id, place)
          GROUP BY request) AS own ON own.request = r.n
    ORDER BY caller, key, n
    ON CONFLICT DO NOTHING;

    outcomes := array(
        SELECT CASE WHEN known.fingerprint <> r.fingerprint OR known.transfer_ids IS NULL
                    THEN 'reused'
                    WHEN known.transfer_ids[1] = p_ids[array_position(p_requests, r.n::int)]
                    THEN 'new'
                    ELSE 'replayed' END
        FROM unnest(p_callers, p_keys, p_fingerprints) WITH ORDINALITY
             AS r(caller, key, fingerprint, n)
        CROSS JOIN LATERAL find_request(p_bank, caller, r.key) AS known
        ORDER BY n);

    SELECT new.requests, new.ids, posted.statuses, posted.recorded_ats
    INTO numbers, ids, decided, instants
    FROM (SELECT array_agg(u.request) AS requests, array_agg(id) AS ids, array_agg(kind) AS kinds,
                 array_agg(debit) AS debits, array_agg(credit) AS credits,
                 array_agg(amount) AS amounts, array_agg(occurred) AS occurred,
                 array_agg(p_callers[u.request]) AS actors, array_agg(chain) AS chains,
                 array_agg(subject) AS subjects
          FROM (SELECT * FROM unnest(p_requests, p_ids, p_kinds, p_debits, p_credits, p_amounts,
                                     p_occurred, p_chain_ids, p_subjects) WITH ORDINALITY
                    AS t(request, id, kind, debit, credit, amount, occurred, chain, subject, n)
                WHERE outcomes[t.request] = 'new' ORDER BY n) AS u
          HAVING count(*) > 0) AS new
    CROSS JOIN LATERAL post_transfers(
        p_bank, new.ids, new.kinds, new.debits, new.credits, new.amounts, new.occurred, new.actors,
        new.chains, new.subjects, NULL, NULL) AS posted;
    IF 'id_conflict' = ANY (decided) THEN  -- the row of that id is another's: no answer to this
        RAISE EXCEPTION 'post_requests was given a transfer id that has other content'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    RETURN QUERY
    SELECT n, outcomes[n], id, decided, recorded
    FROM (SELECT * FROM unnest(numbers, ids, decided, instants) WITH ORDINALITY
              AS new(n, id, decided, recorded, place)
          UNION ALL
          SELECT r.n::integer, answered.id, t.status, t.recorded_at, answered.place
          FROM unnest(p_callers, p_keys) WITH ORDINALITY AS r(caller, key, n)
          CROSS JOIN LATERAL find_request(p_bank, caller, r.key) AS known
          CROSS JOIN LATERAL unnest(known.transfer_ids) WITH ORDINALITY AS answered(id, place)
          CROSS JOIN LATERAL (  -- a probe for each, also when the plan was made for an empty table
              SELECT * FROM transfer
              WHERE bank_id = p_bank AND transfer_id = answered.id LIMIT 1) AS t
          WHERE outcomes[r.n] <> 'new') AS answers
    ORDER BY n, place;
END $$;
COMMENT ON FUNCTION post_requests IS
    'Posts the transfers of many requests in one commit, each under its caller''s key. p_requests '
    'says which request (1..n) a transfer belongs to. A key seen before posts nothing: with the '
    'same fingerprint it is replayed, with another reused; either way the first answer comes back.';

CREATE FUNCTION find_answer(p_bank integer, p_caller uuid, p_key text, OUT taken boolean,
                            OUT fingerprint bytea, OUT answer json)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
#variable_conflict use_column
BEGIN
    taken := NOT pg_try_advisory_xact_lock(hashtextextended(p_caller || p_key, p_bank));
    SELECT r.fingerprint, r.answer INTO fingerprint, answer
    FROM find_request(p_bank, p_caller, p_key) AS r;
END $$;
COMMENT ON FUNCTION find_answer IS
    'Claims a key until the end of the transaction (taken: another transaction holds it) and reads '
    'what was answered to it before, if anything.';

CREATE FUNCTION answer_request(
    p_bank integer, p_caller uuid, p_key text, p_fingerprint bytea, p_answer json
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO request (bank_id, caller_id, key, fingerprint, answer)
    VALUES (p_bank, p_caller, p_key, p_fingerprint, p_answer);
END $$;
COMMENT ON FUNCTION answer_request IS 'Stores an answer in the commit of what it answers.';


-- ── Reading ─────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION find_last_seq(
    p_bank integer, p_account uuid, p_recorded_by timestamptz, p_occurred_by timestamptz
) RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    low    bigint := 0;
    high   bigint := (SELECT seq FROM balance WHERE (bank_id, account_id) = (p_bank, p_account));
    middle bigint;
BEGIN
    WHILE low < high LOOP
        middle := (low + high + 1) / 2;
        IF (SELECT recorded_at <= p_recorded_by AND occurred_latest <= p_occurred_by FROM posting
            WHERE (bank_id, account_id, seq) = (p_bank, p_account, middle)) THEN
            low := middle;
        ELSE
            high := middle - 1;
        END IF;
    END LOOP;
    RETURN low;
END $$;
COMMENT ON FUNCTION find_last_seq IS
    'The last line up to which everything was recorded and had occurred by these instants, or 0. '
    'Both columns never decrease along seq: bisection, O(log n) probes of the primary key.';

CREATE FUNCTION await_poster(p_bank integer, p_account uuid) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM balance WHERE (bank_id, account_id) = (p_bank, p_account) FOR SHARE;
    RAISE EXCEPTION USING ERRCODE = 'TB000';
EXCEPTION WHEN SQLSTATE 'TB000' THEN
    NULL;  -- the lock is gone with what took it
END $$;
COMMENT ON FUNCTION await_poster IS
    'Waits until nobody posts on the account, and holds nobody up from then on.';

CREATE FUNCTION read_balance_as_of(
    p_bank integer, p_account uuid, p_recorded_by timestamptz,
    p_occurred_by timestamptz DEFAULT 'infinity'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp
SET lock_timeout = '2s' AS $$  -- a long import is not waited for: the asker may come again
DECLARE
    last_recorded  bigint;
    last_in_order  bigint;
BEGIN
    IF p_recorded_by > clock_timestamp() THEN  -- asked before the wait: later stamps are later
        RAISE EXCEPTION 'the balance at % is not known yet', p_recorded_by
            USING ERRCODE = '22008', CONSTRAINT = 'as_of_not_in_future';
    END IF;
    IF EXISTS (SELECT FROM balance WHERE (bank_id, account_id) = (p_bank, p_account)
               AND recorded_at <= p_recorded_by) THEN  -- else every later stamp is later too
        PERFORM await_poster(p_bank, p_account);
    END IF;
    last_recorded := find_last_seq(p_bank, p_account, p_recorded_by, 'infinity');
    last_in_order := find_last_seq(p_bank, p_account, p_recorded_by, p_occurred_by);
    RETURN coalesce((SELECT balance_after FROM posting
                     WHERE (bank_id, account_id, seq) = (p_bank, p_account, last_in_order)), 0)
         + coalesce((SELECT sum(amount) FROM posting
                     WHERE bank_id = p_bank AND account_id = p_account
                       AND occurred_at < occurred_latest AND occurred_at <= p_occurred_by
                       AND seq > last_in_order AND seq <= last_recorded), 0);
END $$;
COMMENT ON FUNCTION read_balance_as_of IS
    'What the book said at recorded_by of what had occurred by occurred_by. A posting under way on '
    'this account is waited for if it may bear that instant, so the answer for a past instant '
    'never changes. O(log n) for lines in order, plus one index entry for each back-dated line '
    'after them, while others post.';

CREATE VIEW passbook AS
    SELECT p.bank_id, p.account_id, p.seq, p.amount, p.balance_after, p.occurred_at, p.recorded_at,
           p.transfer_id, t.kind, t.subject_id, t.reverses_id, t.chain_id,
           CASE WHEN p.amount > 0 THEN t.debit_account_id ELSE t.credit_account_id END
               AS counter_account_id
    FROM posting p JOIN transfer t USING (bank_id, transfer_id);
COMMENT ON VIEW passbook IS 'Lines of an account''s passbook; read it by account and seq.';

CREATE VIEW trial_balance AS
    SELECT a.bank_id, a.unit, a.kind, count(*) AS accounts,
           coalesce(sum(-b.balance) FILTER (WHERE b.balance < 0), 0)::bigint AS debit,
           coalesce(sum(b.balance) FILTER (WHERE b.balance > 0), 0)::bigint AS credit
    FROM account a JOIN balance b USING (bank_id, account_id)
    GROUP BY a.bank_id, a.unit, a.kind;
COMMENT ON VIEW trial_balance IS 'By unit and kind; debits equal credits within each unit.';


-- ── Expiry of points ────────────────────────────────────────────────────────────────────────────

CREATE TABLE expiry_rule (
    bank_id     integer     NOT NULL,
    starts_on   date        NOT NULL,
    months      integer     CONSTRAINT expiry_rule_gives_a_year CHECK (months BETWEEN 12 AND 1200),
    grace_days  integer     NOT NULL
                            CONSTRAINT expiry_rule_grace_sane CHECK (grace_days BETWEEN 0 AND 366),
    set_by      uuid        NOT NULL,
    set_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT expiry_rule_one_a_day PRIMARY KEY (bank_id, starts_on)
);
COMMENT ON TABLE expiry_rule IS
    'From starts_on until the next rule begins, unspent points expire after so many months. A bank '
    'without a rule lets nothing expire. Append-only.';
COMMENT ON COLUMN expiry_rule.months IS
    'Points are good to the end of the month that lies so many after theirs; null: for ever.';
COMMENT ON COLUMN expiry_rule.grace_days IS
    'How long points are good that are given back after their last day.';
SELECT make_append_only('expiry_rule');

CREATE FUNCTION set_expiry_rule(
    p_bank integer, p_starts_on date, p_months integer, p_grace_days integer, p_set_by uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_starts_on <= (SELECT clock_timestamp() AT TIME ZONE time_zone FROM bank
                       WHERE bank_id = p_bank)::date THEN
        RAISE EXCEPTION 'an expiry rule that starts on % would change the past', p_starts_on
            USING ERRCODE = 'check_violation', CONSTRAINT = 'expiry_rule_starts_later';
    END IF;
    INSERT INTO expiry_rule (bank_id, starts_on, months, grace_days, set_by)
    VALUES (p_bank, p_starts_on, p_months, p_grace_days, p_set_by);
END $$;
COMMENT ON FUNCTION set_expiry_rule IS
    'Adds a rule that starts tomorrow or later by the bank''s calendar: which points were spent '
    'first follows from the rules of the day, and no day that has begun changes.';

GRANT EXECUTE ON FUNCTION set_expiry_rule TO timebank_app;


-- ── Blocks: points that stand in a wallet and are not spent while their origin is examined ──────
-- What is blocked of a wallet is a sum that its balance may not fall below by spending. The fold of
-- lots finds it when the block is placed, under the locks of the wallets (who spends has the same),
-- and spends around it from then on (timebank/domain/lots.py). It ends as the block is lifted, and
-- for an award as it is reversed.

CREATE TABLE block (
    bank_id    integer     NOT NULL,
    block_id   uuid        NOT NULL,
    points     bigint      NOT NULL CONSTRAINT block_of_points CHECK (points > 0),
    placed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    lifted_at  timestamptz,
    PRIMARY KEY (bank_id, block_id)
);
CREATE INDEX block_in_force ON block (bank_id) WHERE lifted_at IS NULL;
COMMENT ON TABLE block IS 'That points of some origin are blocked, from when until when.';
COMMENT ON COLUMN block.points IS 'The sum of its blocked_points, so that the audit misses each.';

CREATE FUNCTION check_block() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' AND NEW.lifted_at IS NULL
       OR TG_OP = 'UPDATE' AND OLD.lifted_at IS NULL AND NEW.lifted_at IS NOT NULL
          AND (NEW.bank_id, NEW.block_id, NEW.points, NEW.placed_at)
              = (OLD.bank_id, OLD.block_id, OLD.points, OLD.placed_at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of block refused: it is placed, lifted once, and then stays', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION check_block IS
    'A block is lifted once and nothing else changes of it. By whom it may be lifted is not asked '
    'here: the audit compares it with the hold of its id.';
CREATE TRIGGER block_is_lawful BEFORE INSERT OR UPDATE OR DELETE ON block
    FOR EACH ROW EXECUTE FUNCTION check_block();
CREATE TRIGGER block_is_never_emptied BEFORE TRUNCATE ON block
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
ALTER TABLE block ENABLE ALWAYS TRIGGER block_is_lawful;
ALTER TABLE block ENABLE ALWAYS TRIGGER block_is_never_emptied;

CREATE TABLE blocked_points (
    bank_id     integer NOT NULL,
    block_id    uuid    NOT NULL,
    account_id  uuid    NOT NULL,
    origin_id   uuid    NOT NULL,
    hold_id     uuid,
    behind      bigint  NOT NULL DEFAULT 0
                        CONSTRAINT blocked_behind_others CHECK (behind >= 0),
    points      bigint  NOT NULL CONSTRAINT blocked_points_positive CHECK (points > 0),
    since_seq   bigint  NOT NULL,
    CONSTRAINT blocked_points_once
        UNIQUE NULLS NOT DISTINCT (bank_id, account_id, block_id, origin_id, hold_id, behind)
);
COMMENT ON TABLE blocked_points IS
    'Unspent points that an award brought, when they were blocked. Append-only.';
COMMENT ON COLUMN blocked_points.origin_id IS 'The award that brought them.';
COMMENT ON COLUMN blocked_points.hold_id IS
    'The redemption that they had gone into: they are blocked as far as it gives them back. Null: '
    'they stood in the wallet.';
COMMENT ON COLUMN blocked_points.behind IS 'How many others it gives back before them.';
COMMENT ON COLUMN blocked_points.since_seq IS 'The wallet''s last line when they were blocked.';
SELECT make_append_only('blocked_points');

CREATE FUNCTION count_blocked(p_bank integer, p_account uuid) RETURNS bigint
LANGUAGE sql STABLE SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
    WITH stands AS MATERIALIZED (
        SELECT p.hold_id, p.behind, p.points, p.since_seq
        FROM blocked_points p
        JOIN block b USING (bank_id, block_id)
        WHERE p.bank_id = p_bank AND p.account_id = p_account AND b.lifted_at IS NULL
          AND NOT EXISTS (SELECT FROM transfer undone
                          WHERE undone.bank_id = p_bank AND undone.reverses_id = p.origin_id
                            AND undone.status = 'posted')
    ), line AS MATERIALIZED (  -- once, and none if nothing is blocked of a redemption
        SELECT t.subject_id, p.seq, p.amount
        FROM posting p
        CROSS JOIN LATERAL (
            SELECT kind, subject_id FROM transfer
            WHERE (bank_id, transfer_id) = (p_bank, p.transfer_id) LIMIT 1) AS t
        WHERE p.bank_id = p_bank AND p.account_id = p_account
          AND p.seq > (SELECT min(since_seq) FROM stands WHERE hold_id IS NOT NULL)
          AND t.kind IN ('release', 'refund') AND t.subject_id IS NOT NULL
    ), back AS (
        SELECT hold_id, since_seq, sum(line.amount) AS came
        FROM (SELECT DISTINCT hold_id, since_seq FROM stands) AS asked
        JOIN line ON line.subject_id = hold_id AND line.seq > since_seq
        GROUP BY hold_id, since_seq
    )
    SELECT coalesce(sum(CASE WHEN hold_id IS NULL THEN points
                             ELSE greatest(0, least(points, coalesce(came, 0) - behind)) END),
                    0)::bigint
    FROM stands LEFT JOIN back USING (hold_id, since_seq);
$$;
COMMENT ON FUNCTION count_blocked IS 'What is blocked of a wallet now, 0 if nothing is.';

CREATE FUNCTION is_spending(p_kind transfer_kind) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_kind IN ('transfer', 'gift', 'hold', 'repayment');
$$;
COMMENT ON FUNCTION is_spending IS
    'Whether it gives points away, as corrections, roundings and expiries do not.';

CREATE FUNCTION list_blocked(p_bank integer, p_kinds transfer_kind[], p_debits uuid[])
RETURNS bigint[] LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM block WHERE bank_id = p_bank AND lifted_at IS NULL) THEN
        RETURN NULL;
    END IF;
    RETURN array(
        SELECT CASE WHEN is_spending(kind) THEN known.points END
        FROM unnest(p_kinds, p_debits) WITH ORDINALITY AS asked (kind, debit, place)
        LEFT JOIN (SELECT account_id, count_blocked(p_bank, account_id) AS points
                   FROM (SELECT DISTINCT account_id FROM blocked_points
                         WHERE bank_id = p_bank AND account_id = ANY (p_debits)) AS touched
                  ) AS known ON known.account_id = debit
        ORDER BY place);
END $$;
COMMENT ON FUNCTION list_blocked IS
    'For each transfer what is blocked of its debit account, as the call finds it: null where it '
    'spends nothing or nothing is blocked. One probe of an index where the bank has no block.';

CREATE FUNCTION place_block(
    p_bank integer, p_block uuid, p_accounts uuid[], p_origins uuid[], p_holds uuid[],
    p_behind bigint[], p_points bigint[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM lock_balances(p_bank, p_accounts);
    INSERT INTO block (bank_id, block_id, points)
    SELECT p_bank, p_block, sum(points) FROM unnest(p_points) AS points HAVING count(*) > 0;
    INSERT INTO blocked_points
    SELECT p_bank, p_block, account, origin, hold, behind, points, b.seq
    FROM unnest(p_accounts, p_origins, p_holds, p_behind, p_points)
         AS found (account, origin, hold, behind, points)
    JOIN balance b ON b.bank_id = p_bank AND b.account_id = account;
END $$;
COMMENT ON FUNCTION place_block IS
    'Blocks what was found under the locks of the same accounts: rows of arrays of one length. Of '
    'nothing there is no block, so that nobody''s postings ask for it.';

CREATE FUNCTION lift_block(p_bank integer, p_block uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM lock_balances(p_bank, array(SELECT account_id FROM blocked_points
                                        WHERE bank_id = p_bank AND block_id = p_block));
    UPDATE block SET lifted_at = clock_timestamp()
    WHERE bank_id = p_bank AND block_id = p_block AND lifted_at IS NULL;
END $$;
COMMENT ON FUNCTION lift_block IS
    'Ends a block under the locks of its wallets, so that each posting came before or after; again '
    'is harmless.';

GRANT EXECUTE ON FUNCTION place_block TO timebank_app;  -- whoever releases lifts
GRANT EXECUTE ON FUNCTION count_blocked, is_spending TO timebank_app, timebank_auditor;


-- ── Registry: who there is, and where they hang ─────────────────────────────────────────────────

CREATE TYPE party_kind AS ENUM ('person', 'merchant', 'branch', 'family', 'system');

CREATE TABLE party (
    bank_id        integer     NOT NULL,
    party_id       uuid        NOT NULL,
    kind           party_kind  NOT NULL,
    registered_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    erased_at      timestamptz,
    PRIMARY KEY (bank_id, party_id)
);
COMMENT ON TABLE party IS
    'Whoever may own accounts, act or hold a role: a random id and nothing personal. One human is '
    'one person, whatever their roles, so that two pairs of eyes are two persons.';
COMMENT ON COLUMN party.erased_at IS 'When the personal data was destroyed; the row stays.';

CREATE TYPE branch_level AS ENUM (
    'district',     -- 区: the root, one for a bank
    'subdistrict',  -- 街道
    'community',    -- 社区
    'compound'      -- 小区
);

CREATE FUNCTION level_above(p_level branch_level) RETURNS branch_level
LANGUAGE sql IMMUTABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE p_level
        WHEN 'subdistrict' THEN 'district'::branch_level
        WHEN 'community' THEN 'subdistrict'
        WHEN 'compound' THEN 'community'
    END;
$$;
COMMENT ON FUNCTION level_above IS
    'The one level that a branch of this level hangs on; null for the root. So the tree has no '
    'cycle, whatever is moved.';

CREATE TABLE community_type (
    bank_id  integer NOT NULL,
    code     text    NOT NULL CONSTRAINT community_type_code_plain
                     CHECK (code ~ '^[a-z0-9][a-z0-9-]{0,31}$'),
    name     text    NOT NULL CONSTRAINT community_type_name_short
                     CHECK (length(name) BETWEEN 1 AND 80),
    PRIMARY KEY (bank_id, code)
);
COMMENT ON TABLE community_type IS 'The types a bank sorts its communities into.';

CREATE TABLE branch (
    bank_id         integer      NOT NULL,
    branch_id       uuid         NOT NULL,
    level           branch_level NOT NULL,
    code            text         NOT NULL
                                 CONSTRAINT branch_code_plain
                                 CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name            text         NOT NULL
                                 CONSTRAINT branch_name_short CHECK (length(name) BETWEEN 1 AND 80),
    community_type  text         CONSTRAINT branch_type_of_community
                                 CHECK (community_type IS NULL OR level = 'community'),
    opened_at       timestamptz  NOT NULL DEFAULT clock_timestamp(),
    closed_at       timestamptz,
    PRIMARY KEY (bank_id, branch_id),
    CONSTRAINT branch_code_unique UNIQUE (bank_id, code)
);
COMMENT ON TABLE branch IS
    'A place in the tree; it is a party too, and owns its pools. Written by functions.';
COMMENT ON COLUMN branch.closed_at IS
    'From then on nothing is hung on it; it stays in the tree, which is also that of the past.';
CREATE UNIQUE INDEX branch_one_root ON branch (bank_id) WHERE level = 'district';

CREATE TABLE branch_move (
    bank_id    integer     NOT NULL,
    branch_id  uuid        NOT NULL,
    parent_id  uuid,
    moved_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT branch_moved_once_at_a_time PRIMARY KEY (bank_id, branch_id, moved_at)
);
COMMENT ON TABLE branch_move IS
    'Under which parent a branch hangs from an instant on; the root has none. Append-only.';

CREATE TABLE placement (
    bank_id    integer     NOT NULL,
    party_id   uuid        NOT NULL,
    branch_id  uuid        NOT NULL,
    placed_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT party_placed_once_at_a_time PRIMARY KEY (bank_id, party_id, placed_at)
);
COMMENT ON TABLE placement IS
    'On which branch a party and its accounts hang from an instant on. Append-only.';
CREATE INDEX placement_of_branch ON placement (bank_id, branch_id);

CREATE TYPE service_point_kind AS ENUM (
    'centre',               -- 党群服务中心, on a subdistrict
    'station',              -- 社区服务站, one on a community
    'neighbourhood_centre'  -- 小区邻里中心, on a compound
);

CREATE FUNCTION level_of_service_point(p_kind service_point_kind) RETURNS branch_level
LANGUAGE sql IMMUTABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE p_kind
        WHEN 'centre' THEN 'subdistrict'::branch_level
        WHEN 'station' THEN 'community'
        WHEN 'neighbourhood_centre' THEN 'compound'
    END;
$$;
COMMENT ON FUNCTION level_of_service_point IS 'The level whose branches have points of this kind.';

CREATE TABLE service_point (
    bank_id           integer            NOT NULL,
    service_point_id  uuid               NOT NULL,
    branch_id         uuid               NOT NULL,
    kind              service_point_kind NOT NULL,
    name              text               NOT NULL CONSTRAINT service_point_name_short
                                         CHECK (length(name) BETWEEN 1 AND 80),
    opened_at         timestamptz        NOT NULL DEFAULT clock_timestamp(),
    closed_at         timestamptz,
    PRIMARY KEY (bank_id, service_point_id)
);
COMMENT ON TABLE service_point IS 'Where people are served: 1 + N + X. Written by functions.';
CREATE UNIQUE INDEX service_point_name_unique ON service_point (bank_id, branch_id, name)
    WHERE closed_at IS NULL;
CREATE UNIQUE INDEX service_point_one_station ON service_point (bank_id, branch_id)
    WHERE kind = 'station' AND closed_at IS NULL;

CREATE FUNCTION find_branch_of(p_bank integer, p_party uuid, p_at timestamptz) RETURNS uuid
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT coalesce(
        (SELECT branch_id FROM branch WHERE (bank_id, branch_id) = (p_bank, p_party)),
        (SELECT branch_id FROM placement
         WHERE bank_id = p_bank AND party_id = p_party AND placed_at <= p_at
         ORDER BY placed_at DESC LIMIT 1),
        (SELECT root_id FROM bank WHERE bank_id = p_bank));
$$;
COMMENT ON FUNCTION find_branch_of IS
    'The branch a party hung on at an instant: a branch on itself, who was never placed (and null, '
    'the bank''s own) on the root.';

CREATE FUNCTION list_branch_path(p_bank integer, p_branch uuid, p_at timestamptz) RETURNS uuid[]
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    WITH RECURSIVE path (branch_id, height) AS (
        SELECT p_branch, 1
        UNION ALL
        SELECT (SELECT parent_id FROM branch_move
                WHERE bank_id = p_bank AND branch_id = path.branch_id AND moved_at <= p_at
                ORDER BY moved_at DESC LIMIT 1), height + 1
        FROM path WHERE path.branch_id IS NOT NULL AND height < 16
    )
    SELECT array_agg(branch_id ORDER BY height) FROM path WHERE branch_id IS NOT NULL;
$$;
COMMENT ON FUNCTION list_branch_path IS 'A branch and all above it, up to the root, at an instant.';

CREATE FUNCTION is_within(p_bank integer, p_party uuid, p_branch uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT p_branch = ANY (list_branch_path(
        p_bank, find_branch_of(p_bank, p_party, 'infinity'), 'infinity'));
$$;
COMMENT ON FUNCTION is_within IS 'Whether a party hangs on the branch or anywhere below it now.';

CREATE FUNCTION open_bank(
    p_code text, p_name text, p_time_zone text, p_points_per_hour integer
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    opened bank;
BEGIN
    INSERT INTO bank (code, name, time_zone, points_per_hour)
    VALUES (p_code, p_name, p_time_zone, p_points_per_hour)
    ON CONFLICT (code) DO NOTHING RETURNING * INTO opened;
    IF opened.bank_id IS NOT NULL THEN
        INSERT INTO party (bank_id, party_id, kind)
        VALUES (opened.bank_id, opened.root_id, 'branch');
        INSERT INTO branch (bank_id, branch_id, level, code, name)
        VALUES (opened.bank_id, opened.root_id, 'district', p_code, p_name);
        INSERT INTO branch_move (bank_id, branch_id) VALUES (opened.bank_id, opened.root_id);
    END IF;
END $$;
COMMENT ON FUNCTION open_bank IS 'A bank with the root of its tree; nothing if the code is taken.';

SELECT make_append_only('branch_move'), make_append_only('placement');

GRANT INSERT ON party TO timebank_app;
GRANT EXECUTE ON FUNCTION open_bank TO timebank_app;
GRANT EXECUTE ON FUNCTION find_branch_of, list_branch_path, is_within
    TO timebank_app, timebank_auditor;


-- ── Tree: what is opened, moved, closed and placed ──────────────────────────────────────────────
-- Lock order: balances (closing only), then branches from the top down, then the party.

CREATE FUNCTION hold_open_branch(p_bank integer, p_branch uuid) RETURNS branch
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    held branch;
BEGIN
    SELECT * INTO held FROM branch WHERE (bank_id, branch_id) = (p_bank, p_branch) FOR KEY SHARE;
    IF NOT FOUND THEN
        PERFORM refuse('branch_exists', format('no branch %s', p_branch));
    ELSIF held.closed_at IS NOT NULL THEN
        PERFORM refuse('branch_is_open', format('branch %s is closed', p_branch));
    END IF;
    RETURN held;
END $$;
COMMENT ON FUNCTION hold_open_branch IS
    'A branch that something is about to hang on; it cannot be closed until the transaction ends.';

CREATE FUNCTION open_branch(
    p_bank integer, p_branch uuid, p_parent uuid, p_code text, p_name text, p_type text
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    parent branch := hold_open_branch(p_bank, p_parent);
    level  branch_level := (SELECT below FROM unnest(enum_range(NULL::branch_level)) AS below
                            WHERE level_above(below) = parent.level);
BEGIN
    IF level IS NULL THEN
        PERFORM refuse('branch_hangs_on_level_above', format('nothing hangs on %s', parent.code));
    END IF;
    INSERT INTO party (bank_id, party_id, kind) VALUES (p_bank, p_branch, 'branch');
    INSERT INTO branch (bank_id, branch_id, level, code, name)
    VALUES (p_bank, p_branch, level, p_code, p_name);
    INSERT INTO branch_move (bank_id, branch_id, parent_id) VALUES (p_bank, p_branch, p_parent);
    PERFORM describe_branch(p_bank, p_branch, p_name, p_type);
END $$;
COMMENT ON FUNCTION open_branch IS
    'A new branch, of the level below its parent''s. The type is of a community, or null.';

CREATE FUNCTION describe_branch(p_bank integer, p_branch uuid, p_name text, p_type text)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM community_type WHERE (bank_id, code) = (p_bank, p_type);
    IF NOT FOUND AND p_type IS NOT NULL THEN
        PERFORM refuse('community_type_exists', format('no community type %s', p_type));
    END IF;
    UPDATE branch SET name = p_name, community_type = p_type
    WHERE (bank_id, branch_id) = (p_bank, p_branch) AND closed_at IS NULL;
    IF NOT FOUND THEN
        PERFORM hold_open_branch(p_bank, p_branch);
    END IF;
END $$;
COMMENT ON FUNCTION describe_branch IS 'Gives a branch its name and, if it is a community, type.';

CREATE FUNCTION move_branch(p_bank integer, p_branch uuid, p_parent uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    parent branch := hold_open_branch(p_bank, p_parent);
    moved  branch;
    before branch_move;
BEGIN
    SELECT * INTO moved FROM branch WHERE (bank_id, branch_id) = (p_bank, p_branch)
    FOR NO KEY UPDATE;
    PERFORM hold_open_branch(p_bank, p_branch);
    IF level_above(moved.level) IS DISTINCT FROM parent.level THEN
        PERFORM refuse('branch_hangs_on_level_above',
                       format('a %s does not hang on a %s', moved.level, parent.level));
    END IF;
    SELECT * INTO before FROM branch_move WHERE (bank_id, branch_id) = (p_bank, p_branch)
    ORDER BY moved_at DESC LIMIT 1;
    IF before.parent_id = p_parent THEN
        PERFORM refuse('branch_moves_elsewhere', format('branch %s hangs there', p_branch));
    END IF;
    INSERT INTO branch_move (bank_id, branch_id, parent_id, moved_at)
    SELECT p_bank, p_branch, p_parent,
           greatest(clock_timestamp(), before.moved_at + interval '1 microsecond');
    RETURN before.parent_id;
END $$;
COMMENT ON FUNCTION move_branch IS
    'Hangs a branch, with all below it, on another parent from now on; answers the parent before.';

CREATE FUNCTION close_branch(p_bank integer, p_branch uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    own uuid[] := array(SELECT account_id FROM account
                        WHERE bank_id = p_bank AND owner_id = p_branch);
BEGIN
    PERFORM lock_balances(p_bank, own);
    PERFORM FROM branch WHERE (bank_id, branch_id) = (p_bank, p_branch) FOR UPDATE;
    IF (hold_open_branch(p_bank, p_branch)).level = 'district'
       OR EXISTS (SELECT FROM list_parents(p_bank, 'infinity') AS below
                  JOIN branch b ON (b.bank_id, b.branch_id) = (p_bank, below.branch_id)
                  WHERE below.parent_id = p_branch AND b.closed_at IS NULL)
       OR EXISTS (SELECT FROM list_places(p_bank, 'infinity')
                  WHERE branch_id = p_branch AND party_id <> p_branch)
       OR EXISTS (SELECT FROM service_point
                  WHERE bank_id = p_bank AND branch_id = p_branch AND closed_at IS NULL)
       OR EXISTS (SELECT FROM balance
                  WHERE bank_id = p_bank AND account_id = ANY (own) AND balance <> 0) THEN
        PERFORM refuse('branch_is_empty', format('something hangs on branch %s', p_branch));
    END IF;
    UPDATE branch SET closed_at = clock_timestamp()
    WHERE (bank_id, branch_id) = (p_bank, p_branch);
END $$;
COMMENT ON FUNCTION close_branch IS
    'Closes a branch that no open branch, party or service point hangs on and whose accounts are '
    'at 0; never the root.';

CREATE FUNCTION place_party(p_bank integer, p_party uuid, p_branch uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    kind   party_kind;
    before placement;
BEGIN
    PERFORM hold_open_branch(p_bank, p_branch);
    SELECT p.kind INTO kind FROM party p WHERE (bank_id, party_id) = (p_bank, p_party)
    FOR NO KEY UPDATE;
    IF kind IS NULL OR kind = 'branch' THEN
        PERFORM refuse('party_exists', format('no party %s to be placed', p_party));
    END IF;
    SELECT * INTO before FROM placement WHERE (bank_id, party_id) = (p_bank, p_party)
    ORDER BY placed_at DESC LIMIT 1;
    IF before.branch_id = p_branch THEN
        PERFORM refuse('party_moves_elsewhere', format('party %s hangs there', p_party));
    END IF;
    INSERT INTO placement (bank_id, party_id, branch_id, placed_at)
    SELECT p_bank, p_party, p_branch,
           greatest(clock_timestamp(), before.placed_at + interval '1 microsecond');
    RETURN coalesce(before.branch_id, (SELECT root_id FROM bank WHERE bank_id = p_bank));
END $$;
COMMENT ON FUNCTION place_party IS
    'Hangs a party with its accounts on a branch from now on; answers where it hung before. A '
    'branch is moved, not placed.';

CREATE FUNCTION open_service_point(
    p_bank integer, p_point uuid, p_branch uuid, p_kind service_point_kind, p_name text
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF level_of_service_point(p_kind) <> (hold_open_branch(p_bank, p_branch)).level THEN
        PERFORM refuse('service_point_on_its_level', format('no %s on this level', p_kind));
    END IF;
    INSERT INTO service_point (bank_id, service_point_id, branch_id, kind, name)
    VALUES (p_bank, p_point, p_branch, p_kind, p_name);
END $$;
COMMENT ON FUNCTION open_service_point IS 'A new service point, on a branch of its kind''s level.';

CREATE FUNCTION close_service_point(p_bank integer, p_point uuid) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    UPDATE service_point SET closed_at = clock_timestamp()
    WHERE (bank_id, service_point_id) = (p_bank, p_point) AND closed_at IS NULL
    RETURNING true;
$$;
COMMENT ON FUNCTION close_service_point IS 'Closes a service point; null if there is none open.';


-- ── Tree: what hangs where, what it holds, who owes whom ────────────────────────────────────────
-- An instant of 'infinity' is now. These are read in one piece: a plan looks inside them, which it
-- does only where a function neither sets anything nor has rights of its own.

CREATE FUNCTION list_parents(p_bank integer, p_at timestamptz)
RETURNS TABLE (branch_id uuid, parent_id uuid) LANGUAGE sql STABLE AS $$
    SELECT DISTINCT ON (m.branch_id) m.branch_id, m.parent_id FROM timebank.branch_move m
    WHERE m.bank_id = p_bank AND m.moved_at <= p_at
    ORDER BY m.branch_id, m.moved_at DESC;
$$;
COMMENT ON FUNCTION list_parents IS 'The tree at an instant: every branch and its parent.';

CREATE FUNCTION list_places(p_bank integer, p_at timestamptz)
RETURNS TABLE (party_id uuid, branch_id uuid) LANGUAGE sql STABLE AS $$
    SELECT p.party_id, p.branch_id FROM timebank.placement p
    WHERE p.bank_id = p_bank AND p.placed_at <= p_at
      AND NOT EXISTS (SELECT FROM timebank.placement later
                      WHERE later.bank_id = p_bank AND later.party_id = p.party_id
                        AND later.placed_at > p.placed_at AND later.placed_at <= p_at)
    UNION ALL
    SELECT m.branch_id, m.branch_id FROM timebank.branch_move m
    WHERE m.bank_id = p_bank AND m.moved_at <= p_at
    GROUP BY m.branch_id;
$$;
COMMENT ON FUNCTION list_places IS
    'Where every party hung at an instant, a branch on itself; but for those on the root because '
    'they were never placed.';

CREATE FUNCTION list_branches_below(p_bank integer, p_branch uuid, p_at timestamptz)
RETURNS TABLE (branch_id uuid, child_id uuid) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE
    parents AS MATERIALIZED (SELECT * FROM timebank.list_parents(p_bank, p_at)),
    below (branch_id, child_id, depth) AS (
        SELECT p_branch, p_branch, 0
        UNION ALL
        SELECT p.branch_id, CASE depth WHEN 0 THEN p.branch_id ELSE below.child_id END, depth + 1
        FROM below JOIN parents p ON p.parent_id = below.branch_id WHERE depth < 16
    )
    SELECT below.branch_id, below.child_id FROM below;
$$;
COMMENT ON FUNCTION list_branches_below IS
    'The branch and all below it at an instant, each with the child that it is under.';

CREATE FUNCTION await_writers(p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    deadline timestamptz := clock_timestamp() + interval '2 s';
    writers  text[];
BEGIN
    IF p_at > clock_timestamp() THEN
        RAISE EXCEPTION 'the totals at % are not known yet', p_at
            USING ERRCODE = '22008', CONSTRAINT = 'as_of_not_in_future';
    END IF;
    writers := array(  -- after the clock: who is not among them yet stamps a later instant
        SELECT virtualtransaction FROM pg_locks
        WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation = ANY (array['balance', 'branch_move', 'placement']::regclass[])
          AND mode IN ('RowShareLock', 'RowExclusiveLock') AND pid <> pg_backend_pid());
    WHILE EXISTS (SELECT FROM pg_locks WHERE virtualtransaction = ANY (writers)) LOOP
        IF clock_timestamp() > deadline THEN
            RAISE EXCEPTION 'others have been writing for too long' USING ERRCODE = '55P03';
        END IF;
        PERFORM pg_sleep(0.002);
    END LOOP;
END $$;
COMMENT ON FUNCTION await_writers IS
    'Waits until all is committed that may bear an instant up to p_at: whoever stamps a row holds '
    'a lock on one of these tables by then. So what is told of a past instant never changes. It '
    'holds nobody up; a long import is not waited for, the asker may come again.';

CREATE FUNCTION list_branch_totals(p_bank integer, p_branch uuid, p_at timestamptz)
RETURNS TABLE (branch_id uuid, unit unit, kind account_kind, accounts bigint, balance bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp
SET plan_cache_mode = force_custom_plan SET jit = off AS $$
#variable_conflict use_column
DECLARE
    is_root boolean := p_branch = (SELECT root_id FROM bank WHERE bank_id = p_bank);
    mine    uuid[];
BEGIN
    IF p_at < 'infinity' THEN
        PERFORM await_writers(p_at);
    END IF;
    mine := array(SELECT branch_id FROM list_branches_below(p_bank, p_branch, p_at));
    RETURN QUERY
    WITH place AS (
        SELECT p.party_id, below.child_id
        FROM list_places(p_bank, p_at) AS p
        JOIN list_branches_below(p_bank, p_branch, p_at) AS below USING (branch_id)
        WHERE p.branch_id = ANY (mine)
    ), counted AS (
        SELECT place.child_id, a.account_id, a.unit, a.kind
        FROM place JOIN account a ON (a.bank_id, a.owner_id) = (p_bank, place.party_id)
        WHERE a.opened_at <= p_at
        UNION ALL
        SELECT p_branch, a.account_id, a.unit, a.kind FROM account a
        WHERE is_root AND a.bank_id = p_bank AND a.opened_at <= p_at
          AND NOT EXISTS (SELECT FROM list_places(p_bank, p_at) AS p WHERE p.party_id = a.owner_id)
    )
    SELECT c.child_id, c.unit, c.kind, count(*), sum(CASE
               WHEN b.recorded_at <= p_at THEN b.balance
               WHEN b.seq <= 64 THEN coalesce(
                   (SELECT line.balance_after FROM posting line
                    WHERE line.bank_id = p_bank AND line.account_id = c.account_id
                      AND line.recorded_at <= p_at
                    ORDER BY line.seq DESC LIMIT 1), 0)
               ELSE coalesce(
                   (SELECT line.balance_after FROM posting line
                    WHERE (line.bank_id, line.account_id, line.seq) = (p_bank, c.account_id,
                           find_last_seq(p_bank, c.account_id, p_at, 'infinity'))), 0)
           END)::bigint
    FROM counted c JOIN balance b ON (b.bank_id, b.account_id) = (p_bank, c.account_id)
    GROUP BY c.child_id, c.unit, c.kind;
END $$;
COMMENT ON FUNCTION list_branch_totals IS
    'By unit and kind of account: what hangs on the branch itself, under its own id, and each '
    'child''s total with all below it. The tree, the places and the balances as recorded by p_at; '
    'an account whose last posting is later is read by its lines, a long one by bisection.';

CREATE FUNCTION list_sides(p_bank integer, p_level branch_level, p_at timestamptz)
RETURNS TABLE (place_id uuid, side_id uuid) LANGUAGE sql STABLE AS $$
    WITH RECURSIVE
    parents AS MATERIALIZED (
        SELECT p.branch_id, p.parent_id, b.level FROM timebank.list_parents(p_bank, p_at) AS p
        JOIN timebank.branch b ON b.bank_id = p_bank AND b.branch_id = p.branch_id
    ), side (place_id, side_id) AS (
        SELECT branch_id, branch_id FROM parents WHERE level <= p_level
        UNION
        SELECT p.branch_id, side.side_id FROM side JOIN parents p ON p.parent_id = side.place_id
        WHERE p.level > p_level
    )
    SELECT side.place_id, side.side_id FROM side;
$$;
COMMENT ON FUNCTION list_sides IS
    'What each branch counts as, seen from a level: the one of that level above it, or itself.';

CREATE FUNCTION list_branch_positions(p_bank integer, p_branch uuid, p_at timestamptz)
RETURNS TABLE (branch_id uuid, unit unit, by_transfers bigint, by_moves bigint)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp
SET plan_cache_mode = force_custom_plan SET jit = off SET random_page_cost = 1.1 AS $$
#variable_conflict use_column
DECLARE
    at_level branch_level;
    root     uuid;
    mine     uuid[];
BEGIN
    IF p_at < 'infinity' THEN
        PERFORM await_writers(p_at);
    END IF;
    SELECT level INTO at_level FROM branch WHERE (bank_id, branch_id) = (p_bank, p_branch);
    SELECT root_id INTO root FROM bank WHERE bank_id = p_bank;
    mine := array(SELECT place_id FROM list_sides(p_bank, at_level, p_at)
                  WHERE side_id = p_branch AND p_branch <> root);
    RETURN QUERY
    WITH stay AS MATERIALIZED (  -- of all who were ever here, where from when until when
        SELECT party_id, branch_id AS place_id, placed_at AS since,
               lead(placed_at, 1, 'infinity') OVER party AS until,
               lag(branch_id, 1, root) OVER party AS place_before
        FROM placement
        WHERE bank_id = p_bank AND placed_at <= p_at AND party_id IN (
            SELECT party_id FROM placement
            WHERE bank_id = p_bank AND branch_id = ANY (mine) AND placed_at <= p_at)
        WINDOW party AS (PARTITION BY party_id ORDER BY placed_at)
    ), here AS (
        SELECT party_id, since, until FROM stay WHERE place_id = ANY (mine)
        UNION ALL
        SELECT own, '-infinity', 'infinity' FROM unnest(mine) AS own
    ), sent AS (
        SELECT counter.place_id, a.unit, sum(line.amount) AS amount
        FROM here
        JOIN account a ON (a.bank_id, a.owner_id) = (p_bank, here.party_id)
        JOIN posting line ON (line.bank_id, line.account_id) = (p_bank, a.account_id)
                         AND line.recorded_at >= since AND line.recorded_at < until
        JOIN transfer t ON (t.bank_id, t.transfer_id) = (p_bank, line.transfer_id)
        JOIN account c ON (c.bank_id, c.account_id) = (
            p_bank, CASE WHEN line.amount > 0 THEN debit_account_id ELSE credit_account_id END)
        CROSS JOIN LATERAL (SELECT coalesce(
            (SELECT b.branch_id FROM branch b
             WHERE (b.bank_id, b.branch_id) = (p_bank, c.owner_id)),
            (SELECT p.branch_id FROM placement p
             WHERE p.bank_id = p_bank AND p.party_id = c.owner_id
               AND p.placed_at <= line.recorded_at ORDER BY p.placed_at DESC LIMIT 1),
            root) AS place_id) AS counter
        WHERE line.recorded_at <= p_at
        GROUP BY counter.place_id, a.unit
    ), flow AS (
        SELECT place_id, unit, amount AS sent, 0 AS carried FROM sent
        UNION ALL
        SELECT CASE WHEN arrives THEN place_before ELSE place_id END, a.unit, 0,
               CASE WHEN arrives THEN balance_after ELSE -balance_after END
        FROM (SELECT *, place_id = ANY (mine) AS arrives FROM stay
              WHERE (place_id = ANY (mine)) <> (place_before = ANY (mine))) AS moved
        JOIN account a ON (a.bank_id, a.owner_id) = (p_bank, moved.party_id)
        JOIN posting line ON (line.bank_id, line.account_id, line.seq) = (
            p_bank, a.account_id, find_last_seq(p_bank, a.account_id,
                                                since - interval '1 microsecond', 'infinity'))
    )
    SELECT side_id, unit, sum(sent)::bigint, sum(carried)::bigint
    FROM flow JOIN list_sides(p_bank, at_level, p_at) AS side USING (place_id)
    WHERE side_id <> p_branch
    GROUP BY side_id, unit HAVING sum(sent) <> 0 OR sum(carried) <> 0;
END $$;
COMMENT ON FUNCTION list_branch_positions IS
    'What the branch with all below it got from each other branch of its level, less what it gave: '
    'by transfers between those who hung here and there when they were recorded, and by balances '
    'that parties took along as they moved. What hangs on a higher level counts for itself. Two '
    'branches have opposite positions against each other; all of one add up to its total.';

GRANT INSERT ON community_type TO timebank_app;
GRANT UPDATE (name) ON community_type TO timebank_app;
GRANT EXECUTE ON FUNCTION
    open_branch, describe_branch, move_branch, close_branch, place_party, open_service_point,
    close_service_point TO timebank_app;
GRANT EXECUTE ON FUNCTION
    level_above, level_of_service_point, list_parents, list_places, list_branches_below,
    list_sides TO timebank_app, timebank_auditor;
GRANT EXECUTE ON FUNCTION list_branch_totals, list_branch_positions TO timebank_app;


-- ── Access: roles, sessions, four eyes, audit log ───────────────────────────────────────────────

CREATE TYPE role AS ENUM (
    'resident',       -- 储户: own accounts, and those they guard or help
    'clerk',          -- a merchant's person at the counter
    'merchant',       -- who runs a merchant (负责人), or its own system
    'coordinator',    -- 网格员 / 社区专干: the residents of a branch and below
    'auditor',        -- reads and proves, changes nothing
    'administrator',  -- people, roles and places; never posts
    'integrator'      -- a system of the programme that posts what was approved there
);

CREATE TABLE role_grant (
    bank_id      integer     NOT NULL,
    grant_id     uuid        NOT NULL,
    party_id     uuid        NOT NULL,
    role         role        NOT NULL,
    branch_id    uuid        NOT NULL,
    merchant_id  uuid,
    granted_by   uuid        NOT NULL,
    approved_by  uuid        NOT NULL,
    granted_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at   timestamptz,
    PRIMARY KEY (bank_id, grant_id),
    CONSTRAINT role_grant_of_merchant CHECK (
        (role IN ('clerk', 'merchant')) = (merchant_id IS NOT NULL)),
    CONSTRAINT role_grant_not_to_oneself CHECK (party_id NOT IN (granted_by, approved_by)),
    CONSTRAINT role_grant_not_of_resident CHECK (role <> 'resident')
);
COMMENT ON TABLE role_grant IS
    'What a party is in the programme, for a branch and all below it. Residents need none.';
COMMENT ON COLUMN role_grant.approved_by IS
    'Another person than granted_by; both are the operator where a command made the grant.';
CREATE UNIQUE INDEX role_granted_once ON role_grant
    (bank_id, party_id, role, branch_id, merchant_id) NULLS NOT DISTINCT WHERE revoked_at IS NULL;
CREATE INDEX role_grant_at_merchant ON role_grant (bank_id, merchant_id)
    WHERE revoked_at IS NULL AND merchant_id IS NOT NULL;

CREATE FUNCTION check_role_grant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NEW.branch_id IS DISTINCT FROM (SELECT root_id FROM bank WHERE bank_id = NEW.bank_id) THEN
        PERFORM refuse('integrator_of_whole_bank', 'a system that posts reaches the whole bank');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_role_grant IS
    'Nobody is told that a system posts for one branch: the policy does not hold it to that.';
CREATE TRIGGER role_grant_of_integrator_is_lawful BEFORE INSERT ON role_grant FOR EACH ROW
    WHEN (NEW.role = 'integrator') EXECUTE FUNCTION check_role_grant();

CREATE TYPE session_method AS ENUM (
    'token',     -- issued by a command or as an API key
    'pin',       -- card and PIN: low value only
    'code',      -- a one-time code from a service point
    'password'   -- password and second factor
);

CREATE TABLE session (
    token_hash    bytea          PRIMARY KEY,
    bank_id       integer        NOT NULL,
    session_id    uuid           NOT NULL,
    party_id      uuid           NOT NULL,
    role          role           NOT NULL,
    grant_id      uuid,
    method        session_method NOT NULL,
    scopes        text[],
    idle_seconds  integer,
    issued_at     timestamptz    NOT NULL DEFAULT clock_timestamp(),
    expires_at    timestamptz    NOT NULL,
    last_used_at  timestamptz    NOT NULL DEFAULT clock_timestamp(),
    revoked_at    timestamptz,
    CONSTRAINT session_token_is_sha256 CHECK (length(token_hash) = 32),
    CONSTRAINT session_of_a_grant CHECK ((role = 'resident') = (grant_id IS NULL)),
    CONSTRAINT session_by_card_is_residents CHECK (
        method = 'token' OR (method IN ('pin', 'code')) = (role = 'resident')),
    CONSTRAINT session_id_unique UNIQUE (bank_id, session_id)
);
COMMENT ON TABLE session IS
    'Who may call, by the SHA-256 of an opaque token. It counts while it has not expired, was used '
    'within idle_seconds, was not revoked, and its grant was not revoked.';
COMMENT ON COLUMN session.scopes IS 'The only actions it is good for; null: all of its role.';
COMMENT ON COLUMN session.last_used_at IS 'To the minute: an older one is moved on at use.';
CREATE INDEX session_of_party ON session (bank_id, party_id) WHERE revoked_at IS NULL;

CREATE FUNCTION check_session_grant() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM role_grant
                   WHERE (bank_id, grant_id) = (NEW.bank_id, NEW.grant_id)
                     AND (party_id, role) = (NEW.party_id, NEW.role) AND revoked_at IS NULL) THEN
        PERFORM refuse('session_is_of_its_grant', 'nobody was granted this role so');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_session_grant IS
    'A session is of whom its grant is to, in that role, and of a grant in force.';
CREATE TRIGGER session_has_its_grant BEFORE INSERT ON session FOR EACH ROW
    WHEN (NEW.grant_id IS NOT NULL) EXECUTE FUNCTION check_session_grant();

CREATE VIEW live_session AS
    SELECT s.token_hash, s.bank_id, s.session_id, s.party_id, s.role, s.method, s.scopes,
           nullif(g.branch_id, (SELECT b.root_id FROM bank b WHERE b.bank_id = s.bank_id))
               AS branch_id,
           g.merchant_id,
           s.idle_seconds IS NOT NULL
               AND s.last_used_at < clock_timestamp() - make_interval(mins => 1) AS is_stale
    FROM session s LEFT JOIN role_grant g USING (bank_id, grant_id)
    WHERE s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
      AND (s.idle_seconds IS NULL
           OR s.last_used_at > clock_timestamp() - make_interval(secs => s.idle_seconds))
      AND (s.grant_id IS NULL OR g.revoked_at IS NULL);
COMMENT ON VIEW live_session IS
    'The sessions that count now, and what they stand for: of one session that never changes. Read '
    'it by token_hash. branch_id is null for the whole bank; is_stale: its use is to be noted.';

CREATE TABLE audit_log (
    bank_id      integer     NOT NULL,
    entry_id     uuid        NOT NULL,
    actor_id     uuid,
    role         role,
    action       text        NOT NULL,
    object_id    uuid,
    purpose      text,
    result       text        NOT NULL,
    request_id   text        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, entry_id)
);
COMMENT ON TABLE audit_log IS
    'Who did or tried what to which object, with what result: ids and codes, nothing personal and '
    'no tokens. A deed stands here in its own commit. Append-only.';
COMMENT ON COLUMN audit_log.result IS 'done, or the code of the refusal.';
CREATE INDEX audit_log_of_object ON audit_log (bank_id, object_id) WHERE object_id IS NOT NULL;

CREATE TYPE approval_state AS ENUM (
    'proposed',  -- -> approved, rejected; or it lapses
    'approved',
    'rejected'
);

CREATE TABLE approval (
    bank_id       integer        NOT NULL,
    approval_id   uuid           NOT NULL,
    deed          text           NOT NULL,
    content       json           NOT NULL,
    content_hash  bytea          NOT NULL,
    branch_id     uuid           NOT NULL,
    maker_id      uuid           NOT NULL,
    beneficiaries uuid[]         NOT NULL,
    proposed_at   timestamptz    NOT NULL DEFAULT clock_timestamp(),
    lapses_at     timestamptz    NOT NULL,
    state         approval_state NOT NULL DEFAULT 'proposed',
    checker_id    uuid,
    decided_at    timestamptz,
    PRIMARY KEY (bank_id, approval_id),
    CONSTRAINT approval_content_is_sha256 CHECK (length(content_hash) = 32),
    CONSTRAINT approval_decided_by_checker CHECK (
        (state = 'proposed') = (checker_id IS NULL) AND
        (state = 'proposed') = (decided_at IS NULL)),
    CONSTRAINT approval_maker_is_not_checker CHECK (maker_id <> checker_id),
    CONSTRAINT approval_maker_is_not_beneficiary CHECK (maker_id <> ALL (beneficiaries)),
    CONSTRAINT approval_checker_is_not_beneficiary CHECK (checker_id <> ALL (beneficiaries))
);
COMMENT ON TABLE approval IS
    'Four eyes: a deed proposed by one person and decided by another; it serves neither of them.';
COMMENT ON COLUMN approval.content_hash IS
    'SHA-256 of the content; who decides names it, and so decides about what they saw.';
CREATE INDEX approval_open ON approval (bank_id, branch_id) WHERE state = 'proposed';

SELECT make_append_only('audit_log');

CREATE FUNCTION decide_approval(
    p_bank integer, p_approval uuid, p_checker uuid, p_content_hash bytea, p_state approval_state
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    found  approval;
    served uuid[];
BEGIN
    SELECT * INTO found FROM approval WHERE (bank_id, approval_id) = (p_bank, p_approval)
    FOR NO KEY UPDATE;
    IF found.state <> 'proposed' THEN
        RETURN 'decided';
    ELSIF found.lapses_at <= clock_timestamp() THEN
        RETURN 'lapsed';
    ELSIF found.content_hash <> p_content_hash THEN
        RETURN 'content_differs';
    END IF;
    served := ARRAY(SELECT list_persons_behind(p_bank, party_id)
                    FROM unnest(found.beneficiaries) AS party_id);
    IF p_checker = ANY (served) THEN
        PERFORM refuse('approval_checker_is_not_beneficiary', 'it serves who decides');
    ELSIF p_state = 'approved' AND found.maker_id = ANY (served) THEN
        PERFORM refuse('approval_maker_is_not_beneficiary', 'it serves who made it');
    END IF;
    UPDATE approval SET state = p_state, checker_id = p_checker, decided_at = clock_timestamp()
    WHERE (bank_id, approval_id) = (p_bank, p_approval);
    RETURN p_state;
END $$;
COMMENT ON FUNCTION decide_approval IS
    'Decides a proposal once, before it lapses, by its content; returns the state, or why not. '
    'Whoever made it or was served by it when it was made cannot: the constraints of the table say '
    'so; nor who is behind a beneficiary now, and nothing is approved that now serves its maker.';

SELECT make_final('role_grant', 'revoked_at'), make_final('session', 'revoked_at');

GRANT INSERT ON role_grant, session, audit_log TO timebank_app;
GRANT INSERT (bank_id, approval_id, deed, content, content_hash, branch_id, maker_id,
              beneficiaries, lapses_at) ON approval TO timebank_app;
GRANT UPDATE (revoked_at) ON role_grant TO timebank_app;
GRANT UPDATE (revoked_at, last_used_at) ON session TO timebank_app;
GRANT EXECUTE ON FUNCTION decide_approval TO timebank_app;


-- ── People ──────────────────────────────────────────────────────────────────────────────────────
--
-- Random ids and what rules ask for. Names, birthdays and the like stand in the vault, below.
-- lock order   A resident's row before anything that belongs to it, and the party before it where
--              both are locked; several by resident_id. A hold
--              of a minor's points locks it before all that redemption locks (see below).

CREATE TABLE resident (
    bank_id       integer NOT NULL,
    resident_id   uuid    NOT NULL,
    source_ref    text,
    confirmed_on  date,
    member_number text    CONSTRAINT resident_member_number_checked CHECK (
                              member_number ~ '^[1-9][0-9]{9}$' AND
                              member_number::bigint % 97 = 1),
    is_minor      boolean NOT NULL DEFAULT false,
    age_looked_on date,
    minor_until   timestamptz,
    PRIMARY KEY (bank_id, resident_id),
    CONSTRAINT resident_minor_until_known CHECK (NOT is_minor OR minor_until IS NOT NULL),
    CONSTRAINT resident_source_ref_unique UNIQUE (bank_id, source_ref),
    CONSTRAINT resident_member_number_unique UNIQUE (bank_id, member_number)
);
COMMENT ON TABLE resident IS 'The registry of account owners: random ids, no personal data.';
COMMENT ON COLUMN resident.source_ref IS
    'The pseudonym in the rota a resident was imported from; gone when they are erased.';
COMMENT ON COLUMN resident.member_number IS 'Random, with two check digits; null for a pseudonym.';
COMMENT ON COLUMN resident.is_minor IS
    'Was under 18 when last looked at: the rules for minors then ask the vault for the birthday.';
COMMENT ON COLUMN resident.age_looked_on IS 'When a job last looked whether a minor still is one.';
COMMENT ON COLUMN resident.minor_until IS
    'Until when it is known that a minor still is one: a few days after the last look, or the '
    'midnight of the 18th birthday if that comes first. Nobody guards them from then on.';
CREATE INDEX resident_minor ON resident (bank_id, minor_until) WHERE is_minor;

CREATE FUNCTION check_minor() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NEW.minor_until > clock_timestamp() + interval '8 days' THEN
        PERFORM refuse('minor_is_looked_at_again', 'nobody knows that for so long');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_minor IS
    'That somebody is a minor is known for a few days and then looked at again, whoever writes.';
CREATE TRIGGER resident_minor_for_days BEFORE INSERT OR UPDATE OF minor_until ON resident
    FOR EACH ROW WHEN (NEW.minor_until IS NOT NULL) EXECUTE FUNCTION check_minor();

CREATE TYPE membership_state AS ENUM (
    'applied',   -- -> approved, rejected, left
    'approved',  -- -> left
    'rejected',  -- -> applied
    'left'       -- -> applied
);

CREATE TABLE membership (
    bank_id      integer          NOT NULL,
    resident_id  uuid             NOT NULL,
    step         integer          NOT NULL,
    state        membership_state NOT NULL,
    actor_id     uuid             NOT NULL,
    made_at      timestamptz      NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT membership_step_after_step PRIMARY KEY (bank_id, resident_id, step)
);
COMMENT ON TABLE membership IS
    'Where a resident''s membership went, step by step; the last is in force. Append-only.';

CREATE TABLE guardianship (
    bank_id      integer     NOT NULL,
    minor_id     uuid        NOT NULL,
    guardian_id  uuid        NOT NULL,
    sheet        integer,
    named_by     uuid        NOT NULL,
    named_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    let_in_at    timestamptz,
    ended_at     timestamptz,
    PRIMARY KEY (bank_id, minor_id, guardian_id, named_at),
    CONSTRAINT guardian_is_another CHECK (guardian_id <> minor_id),
    CONSTRAINT guardian_named_by_another CHECK (guardian_id <> named_by)
);
COMMENT ON TABLE guardianship IS 'Who acts for a minor; it ends with the minority.';
COMMENT ON COLUMN guardianship.sheet IS 'The paper that shows it.';
COMMENT ON COLUMN guardianship.let_in_at IS
    'Since when they act for the minor: at once for a member; one named for who applies only '
    'consents, until another person approves the membership (see check_membership).';
CREATE UNIQUE INDEX guardian_named_once ON guardianship (bank_id, minor_id, guardian_id)
    WHERE ended_at IS NULL;
CREATE INDEX guardianship_of_guardian ON guardianship (bank_id, guardian_id)
    WHERE ended_at IS NULL;

CREATE TYPE consent_kind AS ENUM (
    'membership',   -- to be registered and served, by the rules that were shown
    'sensitive',    -- to sensitive data, such as the number of a document (PIPL 29)
    'publication',  -- of the name on an honour roll (PIPL 25)
    'helper'        -- to a family helper who sees the passbook and reserves
);

CREATE TABLE consent (
    bank_id      integer      NOT NULL,
    consent_id   uuid         NOT NULL,
    party_id     uuid         NOT NULL,
    kind         consent_kind NOT NULL,
    given        boolean      NOT NULL,
    by_id        uuid         NOT NULL,
    sheet        integer,
    recorded_by  uuid         NOT NULL,
    recorded_at  timestamptz  NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, consent_id)
);
COMMENT ON TABLE consent IS
    'What a person consented to or withdrew, by themselves or their guardian; the last of a kind '
    'is in force. Append-only.';
COMMENT ON COLUMN consent.sheet IS 'The paper that was signed.';
CREATE INDEX consent_of_party ON consent (bank_id, party_id, kind, recorded_at);
CREATE INDEX consent_of_sheet ON consent (bank_id, sheet) WHERE sheet IS NOT NULL;

CREATE TABLE minor_cap (
    bank_id         integer     NOT NULL,
    set_at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    points_at_once  bigint      NOT NULL,
    points_a_day    bigint      NOT NULL,
    set_by          uuid        NOT NULL,
    CONSTRAINT minor_cap_set_once_at_a_time PRIMARY KEY (bank_id, set_at),
    CONSTRAINT minor_cap_in_order CHECK (0 <= points_at_once AND points_at_once <= points_a_day)
);
COMMENT ON TABLE minor_cap IS
    'What residents from 14 to 17 may redeem without their guardian; none while none is set. '
    'Append-only.';

CREATE TABLE family_helper (
    bank_id      integer     NOT NULL,
    resident_id  uuid        NOT NULL,
    helper_id    uuid        NOT NULL,
    named_by     uuid        NOT NULL,
    named_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    PRIMARY KEY (bank_id, resident_id, helper_id, named_at),
    CONSTRAINT helper_is_another CHECK (helper_id <> resident_id),
    CONSTRAINT helper_named_by_another CHECK (helper_id <> named_by),
    CONSTRAINT helper_for_a_year_at_most CHECK (
        expires_at > named_at AND expires_at <= named_at + interval '8784 hours')
);
COMMENT ON TABLE family_helper IS
    'Who may see a resident''s passbook and reserve for them, and never give (亲情代办).';
CREATE UNIQUE INDEX helper_named_once ON family_helper (bank_id, resident_id, helper_id)
    WHERE ended_at IS NULL;
CREATE INDEX family_helper_of_helper ON family_helper (bank_id, helper_id) WHERE ended_at IS NULL;

CREATE TABLE card (
    bank_id      integer     NOT NULL,
    card_id      uuid        NOT NULL,
    resident_id  uuid        NOT NULL,
    token_hash   bytea       NOT NULL,
    issued_by    uuid        NOT NULL,
    issued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at   timestamptz,
    PRIMARY KEY (bank_id, card_id),
    CONSTRAINT card_token_is_sha256 CHECK (length(token_hash) = 32)
);
COMMENT ON TABLE card IS 'Printed cards, by the SHA-256 of their 128-bit token; one at a time.';
CREATE UNIQUE INDEX card_one_in_use ON card (bank_id, resident_id) WHERE revoked_at IS NULL;
CREATE INDEX card_of_token ON card (token_hash);

CREATE FUNCTION find_membership(p_bank integer, p_resident uuid) RETURNS membership_state
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT state FROM membership WHERE bank_id = p_bank AND resident_id = p_resident
    ORDER BY step DESC LIMIT 1;
$$;
COMMENT ON FUNCTION find_membership IS 'Where a membership stands; null for a pseudonym.';

CREATE FUNCTION find_word(p_bank integer, p_party uuid, p_kind consent_kind) RETURNS consent
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT c.* FROM consent c
    WHERE c.bank_id = p_bank AND c.party_id = p_party AND c.kind = p_kind
      AND (c.by_id = c.party_id OR EXISTS (
          SELECT FROM guardianship g
          WHERE g.bank_id = p_bank AND g.minor_id = c.party_id AND g.guardian_id = c.by_id
            AND g.let_in_at IS NOT NULL AND g.named_at <= c.recorded_at
            AND (g.ended_at IS NULL OR g.ended_at >= c.recorded_at)))
    ORDER BY c.recorded_at DESC, c.consent_id DESC LIMIT 1;
$$;
COMMENT ON FUNCTION find_word IS
    'The last word of this kind that counts; of nulls if there is none. What a guardian said who '
    'was not let in yet counts once they are, and never if they went before.';

CREATE FUNCTION has_consent(p_bank integer, p_party uuid, p_kind consent_kind) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT coalesce((find_word(p_bank, p_party, p_kind)).given, false);
$$;
COMMENT ON FUNCTION has_consent IS 'Whether the last word of this kind that counts was a consent.';

CREATE FUNCTION is_known_minor(p_bank integer, p_resident uuid, p_at timestamptz) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM resident WHERE (bank_id, resident_id) = (p_bank, p_resident)
                   AND is_minor AND minor_until > p_at);
$$;
COMMENT ON FUNCTION is_known_minor IS
    'Whether a resident was surely under 18 then: from the birthday on they are not, to the '
    'second, and when nobody has looked for days it is not known.';

CREATE FUNCTION is_guardian(
    p_bank integer, p_guardian uuid, p_minor uuid, p_at timestamptz DEFAULT clock_timestamp()
) RETURNS boolean LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM guardianship
                   WHERE bank_id = p_bank AND minor_id = p_minor AND guardian_id = p_guardian
                     AND ended_at IS NULL AND let_in_at IS NOT NULL)
       AND is_known_minor(p_bank, p_minor, p_at);
$$;
COMMENT ON FUNCTION is_guardian IS
    'Whether somebody acts for a minor as a guardian now, or at an instant to come if nothing ends '
    'it.';

CREATE FUNCTION may_consent_for(
    p_bank integer, p_guardian uuid, p_minor uuid, p_kind consent_kind
) RETURNS boolean LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM guardianship
                   WHERE bank_id = p_bank AND minor_id = p_minor AND guardian_id = p_guardian
                     AND ended_at IS NULL AND (let_in_at IS NOT NULL OR p_kind <> 'helper'))
       AND is_known_minor(p_bank, p_minor, clock_timestamp());
$$;
COMMENT ON FUNCTION may_consent_for IS
    'Whether somebody consents for a minor now: also a guardian who is not let in yet, without '
    'whom there is no membership (see find_word), but not to a helper, who is let in.';

CREATE FUNCTION may_help(
    p_bank integer, p_helper uuid, p_resident uuid, p_at timestamptz DEFAULT clock_timestamp()
) RETURNS boolean LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM family_helper
                   WHERE bank_id = p_bank AND resident_id = p_resident AND helper_id = p_helper
                     AND ended_at IS NULL AND expires_at > p_at)
       AND coalesce((SELECT given AND (by_id = p_resident
                                       OR is_known_minor(p_bank, p_resident, p_at))
                     FROM consent
                     WHERE bank_id = p_bank AND party_id = p_resident AND kind = 'helper'
                     ORDER BY recorded_at DESC, consent_id DESC LIMIT 1), false);
$$;
COMMENT ON FUNCTION may_help IS
    'Whether somebody is a resident''s family helper now (or at an instant, as is_guardian). What '
    'a guardian consented to ends with the minority.';

CREATE FUNCTION check_person(p_bank integer, p_party uuid) RETURNS void
LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM party WHERE bank_id = p_bank AND party_id = p_party
                   AND kind = 'person' AND erased_at IS NULL) THEN
        RAISE EXCEPTION 'no person %', p_party
            USING ERRCODE = 'check_violation', CONSTRAINT = 'person_is_registered';
    END IF;
END $$;
COMMENT ON FUNCTION check_person IS 'Refuses who is no person of the bank, or was erased.';

CREATE FUNCTION check_membership() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    minor boolean;
    last  membership;
BEGIN
    PERFORM FROM party WHERE (bank_id, party_id) = (NEW.bank_id, NEW.resident_id) FOR SHARE;
    SELECT is_minor INTO minor FROM resident
    WHERE (bank_id, resident_id) = (NEW.bank_id, NEW.resident_id) FOR NO KEY UPDATE;
    SELECT * INTO last FROM membership
    WHERE bank_id = NEW.bank_id AND resident_id = NEW.resident_id ORDER BY step DESC LIMIT 1;
    NEW.step := coalesce(last.step, 0) + 1;
    IF minor IS NULL OR (CASE coalesce(last.state, 'left')
            WHEN 'applied' THEN NEW.state <> 'applied'
            WHEN 'approved' THEN NEW.state = 'left'
            ELSE NEW.state = 'applied' END) IS NOT TRUE THEN
        RAISE EXCEPTION 'membership cannot go from % to %', last.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'membership_step_is_lawful';
    END IF;
    IF NEW.state IN ('applied', 'approved') THEN
        PERFORM check_person(NEW.bank_id, NEW.resident_id);
    END IF;
    IF NEW.state IN ('approved', 'rejected')
            AND NEW.actor_id IN (last.actor_id, NEW.resident_id)
       OR NEW.state = 'approved' AND EXISTS (
            SELECT FROM guardianship WHERE bank_id = NEW.bank_id AND minor_id = NEW.resident_id
            AND ended_at IS NULL AND let_in_at IS NULL
            AND NEW.actor_id IN (guardian_id, named_by)) THEN
        RAISE EXCEPTION 'a membership is decided by another person than applied for it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'membership_decided_by_another';
    END IF;
    IF NEW.state = 'approved' AND minor AND NOT EXISTS (
            SELECT FROM guardianship WHERE bank_id = NEW.bank_id AND minor_id = NEW.resident_id
            AND ended_at IS NULL) THEN
        RAISE EXCEPTION 'a minor needs a guardian'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'minor_has_guardian';
    END IF;
    UPDATE guardianship
    SET let_in_at = CASE WHEN NEW.state = 'approved' THEN clock_timestamp() END,
        ended_at = CASE WHEN NEW.state <> 'approved' THEN clock_timestamp() END
    WHERE bank_id = NEW.bank_id AND minor_id = NEW.resident_id
      AND ended_at IS NULL AND let_in_at IS NULL AND NEW.state <> 'applied';
    IF NEW.state = 'approved' AND NOT EXISTS (  -- asked when what they said counts
            SELECT FROM find_word(NEW.bank_id, NEW.resident_id, 'membership')
            WHERE given AND recorded_at > coalesce((
                SELECT max(made_at) FROM membership WHERE bank_id = NEW.bank_id
                AND resident_id = NEW.resident_id AND state = 'left'), '-infinity')) THEN
        RAISE EXCEPTION 'a membership needs consent'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'membership_is_consented_to';
    END IF;
    IF NEW.state = 'left' THEN
        PERFORM revoke_card(NEW.bank_id, NEW.resident_id);
        UPDATE session SET revoked_at = clock_timestamp()
        WHERE bank_id = NEW.bank_id AND party_id = NEW.resident_id AND role = 'resident'
          AND revoked_at IS NULL;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_membership IS
    'Keeps the steps lawful, whoever writes them; sets step. A guardian who was named for who '
    'applies is let in when another approves the membership, neither of whom they are, and goes '
    'with an application that comes to nothing. Who leaves has no card and no session from then '
    'on, and is a member again only by a consent given since. Nobody is who was erased. Locks the '
    'party (shared), as erasure does first, then the resident''s row.';
CREATE TRIGGER membership_is_lawful BEFORE INSERT ON membership
    FOR EACH ROW EXECUTE FUNCTION check_membership();

CREATE FUNCTION check_guardianship() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM lock_resident(NEW.bank_id, NEW.minor_id);
    PERFORM check_person(NEW.bank_id, NEW.guardian_id);
    IF NOT EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                   AND resident_id = NEW.minor_id)
       OR EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                  AND resident_id = NEW.guardian_id) THEN
        RAISE EXCEPTION 'a guardian is an adult and guards a minor'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'guardian_is_adult_of_minor';
    END IF;
    IF EXISTS (SELECT FROM sheet WHERE bank_id = NEW.bank_id AND number = NEW.sheet
               AND NEW.guardian_id IN (operator_id, witness_id)) THEN
        RAISE EXCEPTION 'who saw the paper signed does not gain by it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'witness_is_no_kin';
    END IF;
    NEW.let_in_at := CASE WHEN find_membership(NEW.bank_id, NEW.minor_id) = 'approved'
                          THEN clock_timestamp() END;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_guardianship IS
    'An adult guards a minor, whoever writes it, and witnessed no paper that makes them one; sets '
    'let_in_at. Locks the minor''s row.';
CREATE TRIGGER guardianship_is_lawful BEFORE INSERT ON guardianship
    FOR EACH ROW EXECUTE FUNCTION check_guardianship();

CREATE FUNCTION check_consent() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
DECLARE
    minor boolean := EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                             AND resident_id = NEW.party_id);
BEGIN
    PERFORM check_person(NEW.bank_id, NEW.party_id);
    IF NOT may_consent_for(NEW.bank_id, NEW.by_id, NEW.party_id, NEW.kind)
            AND (NEW.by_id <> NEW.party_id OR minor AND NEW.given) THEN
        RAISE EXCEPTION 'consent is the person''s own, or a guardian''s for a minor'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'consent_by_self_or_guardian';
    END IF;
    IF NEW.sheet IS NOT NULL THEN
        PERFORM check_sheet_of(NEW.bank_id, NEW.party_id, NEW.sheet);
    END IF;
    IF EXISTS (SELECT FROM sheet WHERE bank_id = NEW.bank_id AND number = NEW.sheet
               AND NEW.by_id IN (operator_id, witness_id)) THEN
        RAISE EXCEPTION 'who saw the paper signed did not sign it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'witness_is_no_kin';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_consent IS
    'For a minor the guardian consents; the minor, too, may withdraw. Nobody witnesses what they '
    'sign; the sheet is theirs.';
CREATE TRIGGER consent_is_lawful BEFORE INSERT ON consent
    FOR EACH ROW EXECUTE FUNCTION check_consent();

CREATE FUNCTION check_helper() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_person(NEW.bank_id, NEW.helper_id);
    IF NOT has_consent(NEW.bank_id, NEW.resident_id, 'helper') THEN
        RAISE EXCEPTION 'a helper needs the resident''s consent'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'helper_is_consented_to';
    END IF;
    IF NEW.helper_id IN (
            SELECT unnest(ARRAY[c.recorded_by, s.operator_id, s.witness_id])
            FROM (SELECT * FROM consent WHERE bank_id = NEW.bank_id AND kind = 'helper'
                  AND party_id = NEW.resident_id
                  ORDER BY recorded_at DESC, consent_id DESC LIMIT 1) AS c
            LEFT JOIN sheet s ON (s.bank_id, s.number) = (c.bank_id, c.sheet)) THEN
        RAISE EXCEPTION 'who saw the paper signed does not gain by it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'witness_is_no_kin';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_helper IS
    'A family helper is a person whom the resident wants, and neither recorded nor witnessed it.';
CREATE TRIGGER family_helper_is_lawful BEFORE INSERT ON family_helper
    FOR EACH ROW EXECUTE FUNCTION check_helper();

CREATE FUNCTION register_residents(
    p_bank integer, p_residents uuid[], p_numbers text[], p_minor_until timestamptz[],
    p_actor uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM party WHERE bank_id = p_bank AND party_id = ANY (p_residents)
    ORDER BY party_id FOR SHARE;
    INSERT INTO resident (bank_id, resident_id, member_number, is_minor, minor_until)
    SELECT p_bank, id, number, until IS NOT NULL, until
    FROM unnest(p_residents, p_numbers, p_minor_until) AS r(id, number, until)
    ORDER BY id
    ON CONFLICT (bank_id, resident_id) DO UPDATE
    SET member_number = coalesce(resident.member_number, EXCLUDED.member_number),
        is_minor = EXCLUDED.is_minor, minor_until = EXCLUDED.minor_until;
    UPDATE guardianship g SET ended_at = clock_timestamp()
    FROM unnest(p_residents, p_minor_until) AS r(id, until)
    WHERE g.bank_id = p_bank AND g.minor_id = r.id AND r.until IS NULL AND g.ended_at IS NULL;
    INSERT INTO membership (bank_id, resident_id, state, actor_id)
    SELECT p_bank, id, 'applied', p_actor FROM unnest(p_residents) AS id ORDER BY id;
END $$;
COMMENT ON FUNCTION register_residents IS
    'Residents who apply for membership; p_minor_until is null for adults. One known by a '
    'pseudonym, or who comes back, keeps id, accounts and number; as an adult, they have no '
    'guardian any more.';

CREATE FUNCTION lock_resident(p_bank integer, p_resident uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    SELECT FROM resident WHERE (bank_id, resident_id) = (p_bank, p_resident) FOR NO KEY UPDATE;
$$;
COMMENT ON FUNCTION lock_resident IS
    'Before what a minor did today is counted and more is done: one after the other.';
CREATE FUNCTION claim_minors(p_bank integer, p_today date, p_limit integer) RETURNS SETOF uuid
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    UPDATE resident SET age_looked_on = p_today
    WHERE bank_id = p_bank AND resident_id IN (
        SELECT resident_id FROM resident
        WHERE bank_id = p_bank AND is_minor
          AND (age_looked_on IS NULL OR age_looked_on < p_today)
        ORDER BY minor_until LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED)
    RETURNING resident_id;
$$;
COMMENT ON FUNCTION claim_minors IS
    'Minors at whose birthday nobody looked today; from now on somebody has. First those of whom '
    'it is known for the shortest time: whose birthday it is. Locks their rows.';

CREATE FUNCTION prolong_minority(p_bank integer, p_resident uuid, p_until timestamptz)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    UPDATE resident
    SET minor_until = CASE WHEN p_until > clock_timestamp() + interval '8 days'
                           THEN clock_timestamp() + interval '8 days' ELSE p_until END
    WHERE bank_id = p_bank AND resident_id = p_resident AND is_minor;
$$;
COMMENT ON FUNCTION prolong_minority IS
    'Until when a minor is known to be one, after a look; never for longer than is believed.';

CREATE FUNCTION end_minority(p_bank integer, p_resident uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    UPDATE resident SET is_minor = false, minor_until = NULL
    WHERE bank_id = p_bank AND resident_id = p_resident AND is_minor;
    UPDATE guardianship SET ended_at = clock_timestamp()
    WHERE bank_id = p_bank AND minor_id = p_resident AND ended_at IS NULL;
END $$;
COMMENT ON FUNCTION end_minority IS 'From now on the resident acts for themselves.';

CREATE FUNCTION issue_card(
    p_bank integer, p_card uuid, p_resident uuid, p_token_hash bytea, p_issuer uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM resident WHERE (bank_id, resident_id) = (p_bank, p_resident) FOR NO KEY UPDATE;
    IF find_membership(p_bank, p_resident) IS DISTINCT FROM 'approved' THEN
        RAISE EXCEPTION 'a card is for approved members'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'card_is_of_member';
    END IF;
    IF EXISTS (SELECT FROM login_secret WHERE bank_id = p_bank AND party_id = p_resident
               AND kind = 'pin' AND set_by = p_issuer) THEN
        PERFORM refuse('card_and_pin_by_two', 'who set the PIN issues no card to it');
    END IF;
    PERFORM revoke_card(p_bank, p_resident);
    UPDATE one_time_code SET used_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = p_resident AND used_at IS NULL;
    INSERT INTO card (bank_id, card_id, resident_id, token_hash, issued_by)
    VALUES (p_bank, p_card, p_resident, p_token_hash, p_issuer);
END $$;
COMMENT ON FUNCTION issue_card IS
    'A new card for a member; the old one and an open one-time code die in the same commit. Nobody '
    'but the resident ever holds both halves of a login: who set the PIN issues no card to it. '
    'Locks the resident''s row, the card, the code, then sessions.';

CREATE FUNCTION revoke_card(p_bank integer, p_resident uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    had boolean;
BEGIN
    UPDATE card SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND resident_id = p_resident AND revoked_at IS NULL;
    had := FOUND;
    UPDATE session SET revoked_at = clock_timestamp()  -- sees what hold_card let commit before
    WHERE bank_id = p_bank AND party_id = p_resident AND role = 'resident'
      AND method IN ('pin', 'code') AND revoked_at IS NULL;
    RETURN had;
END $$;
COMMENT ON FUNCTION revoke_card IS
    'Ends the card in use and the sessions that cards opened; whether there was a card.';

CREATE FUNCTION hold_card(p_bank integer, p_resident uuid, p_token_hash bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM card WHERE bank_id = p_bank AND resident_id = p_resident
    AND token_hash = p_token_hash AND revoked_at IS NULL FOR SHARE;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION hold_card IS
    'Whether this card is in use; if so, it is until the transaction ends.';

CREATE FUNCTION erase_party(p_bank integer, p_party uuid, p_actor uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM party WHERE (bank_id, party_id) = (p_bank, p_party) FOR NO KEY UPDATE;
    UPDATE resident
    SET source_ref = NULL, is_minor = false, minor_until = NULL, age_looked_on = NULL
    WHERE (bank_id, resident_id) = (p_bank, p_party);
    DELETE FROM enrolment WHERE bank_id = p_bank AND party_id = p_party;
    DELETE FROM staff_login WHERE bank_id = p_bank AND party_id = p_party;
    IF find_membership(p_bank, p_party) IN ('applied', 'approved') THEN
        INSERT INTO membership (bank_id, resident_id, state, actor_id)
        VALUES (p_bank, p_party, 'left', p_actor);
    END IF;
    PERFORM revoke_card(p_bank, p_party);
    UPDATE guardianship SET ended_at = clock_timestamp()
    WHERE bank_id = p_bank AND p_party IN (minor_id, guardian_id) AND ended_at IS NULL;
    UPDATE family_helper SET ended_at = clock_timestamp()
    WHERE bank_id = p_bank AND p_party IN (resident_id, helper_id) AND ended_at IS NULL;
    UPDATE family_member SET left_at = clock_timestamp()
    WHERE bank_id = p_bank AND member_id = p_party AND left_at IS NULL;
    UPDATE role_grant SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = p_party AND revoked_at IS NULL;
    DELETE FROM login_secret WHERE bank_id = p_bank AND party_id = p_party;
    DELETE FROM one_time_code WHERE bank_id = p_bank AND party_id = p_party;
    UPDATE session SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = p_party AND revoked_at IS NULL;
    UPDATE party SET erased_at = clock_timestamp()
    WHERE (bank_id, party_id) = (p_bank, p_party) AND erased_at IS NULL;
END $$;
COMMENT ON FUNCTION erase_party IS
    'What erasure means outside the vault, which alone may call this, when it destroys the key. '
    'Locks the party, then the resident''s row: who applies meanwhile has left, or does not, and '
    'who enrols has no login. Then, as who logs in or is confirmed does, the login of staff or the '
    'card, then secrets, then sessions.';

SELECT make_append_only('membership'), make_append_only('consent'), make_append_only('minor_cap');

SELECT make_final('guardianship', 'ended_at'), make_final('family_helper', 'ended_at'),
       make_final('card', 'revoked_at');

GRANT INSERT ON resident, membership, guardianship, consent, minor_cap, family_helper
    TO timebank_app;
GRANT UPDATE (ended_at) ON guardianship, family_helper TO timebank_app;
GRANT EXECUTE ON FUNCTION
    find_membership, find_word, has_consent, is_known_minor, is_guardian, may_consent_for, may_help,
    check_person
    TO timebank_app, timebank_auditor;
GRANT EXECUTE ON FUNCTION register_residents, lock_resident, claim_minors, prolong_minority,
    end_minority, issue_card, revoke_card, hold_card
    TO timebank_app;


-- ── Paper: numbered sheets ──────────────────────────────────────────────────────────────────────
--
-- A sheet's number on paper has two check digits more than here, so that its numbers follow
-- one another.

CREATE TYPE sheet_kind AS ENUM ('registration', 'consent', 'attendance', 'redemption');

CREATE TABLE sheet_run (
    bank_id       integer     NOT NULL,
    first_number  integer     NOT NULL,
    last_number   integer     NOT NULL,
    kind          sheet_kind  NOT NULL,
    issued_to     uuid        NOT NULL,
    issued_by     uuid        NOT NULL,
    issued_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, first_number),
    CONSTRAINT sheet_run_in_order CHECK (
        1000000 <= first_number AND first_number <= last_number AND last_number <= 9999999)
);
COMMENT ON TABLE sheet_run IS
    'Sheets printed in one go, given to a branch or a coordinator. Append-only.';
COMMENT ON COLUMN sheet_run.issued_to IS 'The party that has to account for every sheet.';

CREATE TYPE sheet_fate AS ENUM ('entered', 'voided');

CREATE TYPE sheet_void_reason AS ENUM ('spoilt', 'lost', 'never_used', 'filled_in_wrongly');

CREATE TABLE sheet (
    bank_id      integer           NOT NULL,
    number       integer           NOT NULL,
    fate         sheet_fate        NOT NULL,
    operator_id  uuid              NOT NULL,
    witness_id   uuid,
    member_id    uuid,
    subject_id   uuid,
    void_reason  sheet_void_reason,
    recorded_at  timestamptz       NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT sheet_used_once PRIMARY KEY (bank_id, number),
    CONSTRAINT sheet_entered_with_witness CHECK (
        (fate = 'entered') = (witness_id IS NOT NULL) AND
        (fate = 'entered') = (member_id IS NOT NULL) AND
        (fate = 'voided') = (void_reason IS NOT NULL)),
    CONSTRAINT sheet_needs_three_persons CHECK (
        operator_id <> witness_id AND member_id NOT IN (operator_id, witness_id))
);
COMMENT ON TABLE sheet IS
    'What became of a sheet: entered for a member by an operator before a witness, or voided. '
    'Append-only.';
COMMENT ON COLUMN sheet.subject_id IS 'What was recorded from it: a record, a hold, a consent.';

CREATE FUNCTION is_sheet_cited(p_bank integer, p_number integer) RETURNS boolean
LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
BEGIN
    RETURN EXISTS (SELECT FROM service_record
                   WHERE bank_id = p_bank AND sheet_number >= p_number || '00'
                     AND sheet_number <= p_number || '99' AND sheet_number ~ '^[0-9]{9}$')
        OR EXISTS (SELECT FROM consent WHERE bank_id = p_bank AND sheet = p_number);
END $$;
COMMENT ON FUNCTION is_sheet_cited IS
    'Whether service was recorded from a sheet of attendance (it has lines of many, so each record '
    'names it, and it is not entered for one member), or a consent names it, as one imported does '
    'that nobody entered.';

CREATE FUNCTION hold_sheets(p_bank integer, p_numbers integer[], p_alone boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_alone THEN
        PERFORM FROM sheet_run WHERE bank_id = p_bank AND EXISTS (
            SELECT FROM unnest(p_numbers) AS n WHERE n BETWEEN first_number AND last_number)
        ORDER BY first_number FOR NO KEY UPDATE;
    ELSE
        PERFORM FROM sheet_run WHERE bank_id = p_bank AND EXISTS (
            SELECT FROM unnest(p_numbers) AS n WHERE n BETWEEN first_number AND last_number)
        ORDER BY first_number FOR SHARE;
    END IF;
END $$;
COMMENT ON FUNCTION hold_sheets IS
    'Before sheets are named (together with others) or voided (alone): locks their runs, in the '
    'order of their numbers, so that what is looked at afterwards stays true.';

CREATE FUNCTION check_sheet_of(p_bank integer, p_party uuid, p_number integer) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM hold_sheets(p_bank, ARRAY[p_number], false);
    IF NOT EXISTS (SELECT FROM sheet_run WHERE bank_id = p_bank
                   AND kind IN ('registration', 'consent')
                   AND p_number BETWEEN first_number AND last_number) THEN
        PERFORM refuse('sheet_was_issued', 'no sheet of this number was issued for this');
    END IF;
    IF EXISTS (SELECT FROM sheet WHERE bank_id = p_bank AND number = p_number
               AND member_id IS DISTINCT FROM p_party)
       OR EXISTS (SELECT FROM consent WHERE bank_id = p_bank AND sheet = p_number
                  AND party_id <> p_party) THEN
        PERFORM refuse('sheet_used_once', 'the sheet was voided, or is another''s');
    END IF;
END $$;
COMMENT ON FUNCTION check_sheet_of IS
    'Refuses what a person did not sign: a sheet that was not printed for it, was voided, or is '
    'another''s.';

CREATE FUNCTION check_record_sheet() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    named integer := left(NEW.sheet_number, 7)::integer;
BEGIN
    PERFORM hold_sheets(NEW.bank_id, ARRAY[named], false);
    IF EXISTS (SELECT FROM sheet WHERE bank_id = NEW.bank_id AND number = named) THEN
        PERFORM refuse('sheet_used_once', 'the sheet was voided or entered');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_record_sheet IS
    'No service is recorded from a sheet that was voided, or is one member''s. A rota has its own '
    'references, which are no numbers of sheets.';

CREATE FUNCTION check_sheet() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM sheet_run WHERE bank_id = NEW.bank_id
                   AND NEW.number BETWEEN first_number AND last_number) THEN
        RAISE EXCEPTION 'no sheet of this number was issued'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sheet_was_issued';
    END IF;
    IF NEW.fate = 'voided' THEN
        PERFORM hold_sheets(NEW.bank_id, ARRAY[NEW.number], true);
        IF is_sheet_cited(NEW.bank_id, NEW.number) THEN
            RAISE EXCEPTION 'something was recorded from this sheet'
                USING ERRCODE = 'unique_violation', CONSTRAINT = 'sheet_used_once';
        END IF;
    END IF;
    IF NEW.fate = 'entered' THEN
        IF EXISTS (SELECT FROM sheet_run WHERE bank_id = NEW.bank_id AND kind = 'attendance'
                   AND NEW.number BETWEEN first_number AND last_number) THEN
            PERFORM refuse('sheet_was_issued', 'a sheet of attendance has lines of many');
        END IF;
        IF EXISTS (SELECT FROM consent WHERE bank_id = NEW.bank_id AND sheet = NEW.number
                   AND party_id <> NEW.member_id) THEN
            PERFORM refuse('sheet_used_once', 'another signed this sheet');
        END IF;
        PERFORM check_person(NEW.bank_id, NEW.operator_id);
        PERFORM check_person(NEW.bank_id, NEW.witness_id);
        PERFORM check_person(NEW.bank_id, NEW.member_id);
        IF EXISTS (SELECT FROM guardianship WHERE bank_id = NEW.bank_id AND sheet = NEW.number
                   AND guardian_id IN (NEW.operator_id, NEW.witness_id))
           OR EXISTS (SELECT FROM consent WHERE bank_id = NEW.bank_id AND sheet = NEW.number
                      AND by_id IN (NEW.operator_id, NEW.witness_id)) THEN
            RAISE EXCEPTION 'who saw the paper signed does not gain by it'
                USING ERRCODE = 'check_violation', CONSTRAINT = 'witness_is_no_kin';
        END IF;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_sheet IS
    'Only printed sheets are used, by persons of the bank; at a registration, which is written '
    'before its sheet, neither the guardian nor who consents is among them.';
CREATE TRIGGER sheet_is_lawful BEFORE INSERT ON sheet
    FOR EACH ROW EXECUTE FUNCTION check_sheet();

CREATE FUNCTION issue_sheets(
    p_bank integer, p_count integer, p_kind sheet_kind, p_issued_to uuid, p_issuer uuid
) RETURNS sheet_run LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    first integer;
    run   sheet_run;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('timebank sheet_run', p_bank));
    first := coalesce((SELECT max(last_number) FROM sheet_run WHERE bank_id = p_bank), 999999) + 1;
    INSERT INTO sheet_run (bank_id, first_number, last_number, kind, issued_to, issued_by)
    VALUES (p_bank, first, first + p_count - 1, p_kind, p_issued_to, p_issuer)
    RETURNING * INTO run;
    RETURN run;
END $$;
COMMENT ON FUNCTION issue_sheets IS 'The next run of numbers; they never overlap.';

SELECT make_append_only('sheet_run'), make_append_only('sheet');

GRANT INSERT ON sheet TO timebank_app;
GRANT EXECUTE ON FUNCTION issue_sheets, hold_sheets, check_sheet_of TO timebank_app;
GRANT EXECUTE ON FUNCTION is_sheet_cited TO timebank_app, timebank_auditor;


-- ── Seals: what must be read back, and not by who has the database alone ────────────────────────
--
-- A sealed value begins with the 8 bytes of its master key's name (people/seals.py). A column of
-- such values is made known with make_sealed: from then on nothing is written under a key that went
-- out of use, and a change of the master key seals the column anew.

CREATE TABLE sealed_column (
    table_name   text NOT NULL,
    column_name  text NOT NULL,
    bound_to     text NOT NULL,
    PRIMARY KEY (table_name, column_name)
);
COMMENT ON TABLE sealed_column IS 'Which columns hold sealed values; as much schema as they are.';
COMMENT ON COLUMN sealed_column.bound_to IS
    'SQL that gives, from a row, the text its value was bound to when it was sealed.';

CREATE FUNCTION check_seal() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    sealed bytea;
BEGIN
    EXECUTE format('SELECT ($1).%I', TG_ARGV[0]) INTO sealed USING NEW;
    IF sealed IS NOT NULL AND NOT vault.hold_seal_key(
            NEW.bank_id, encode(substring(sealed FROM 1 FOR 8), 'hex')) THEN
        RAISE EXCEPTION 'sealed with a master key that is out of use'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sealed_with_key_in_use';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_seal IS
    'Nothing is sealed with a key that may leave the file; the key stays in use until the commit.';

CREATE FUNCTION make_sealed(p_table text, p_column text, p_bound_to text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO timebank.sealed_column VALUES (p_table, p_column, p_bound_to);
    EXECUTE format('CREATE TRIGGER %2$s_is_sealed BEFORE INSERT OR UPDATE OF %2$I '
        'ON timebank.%1$I FOR EACH ROW EXECUTE FUNCTION timebank.check_seal(%2$L)',
        p_table, p_column);
END $$;
COMMENT ON FUNCTION make_sealed IS 'Makes a column of sealed values known.';

CREATE FUNCTION count_sealed(p_bank integer, p_key text) RETURNS bigint
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    one   sealed_column;
    found bigint;
    total bigint := 0;
BEGIN
    FOR one IN SELECT * FROM sealed_column LOOP
        EXECUTE format('SELECT count(*) FROM %1$I WHERE bank_id = $1 AND '
            'substring(%2$I FROM 1 FOR 8) <> decode($2, ''hex'')', one.table_name, one.column_name)
        INTO found USING p_bank, p_key;
        total := total + found;
    END LOOP;
    RETURN total;
END $$;
COMMENT ON FUNCTION count_sealed IS 'How many values are sealed with another key than this.';

CREATE FUNCTION list_to_reseal(p_bank integer, p_key text, p_limit integer)
RETURNS TABLE (table_name text, column_name text, place text, bound_to text, sealed bytea)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    one sealed_column;
BEGIN
    FOR one IN SELECT * FROM sealed_column ORDER BY 1, 2 LOOP
        RETURN QUERY EXECUTE format('SELECT %1$L, %2$L, ctid::text, %3$s, %2$I FROM %1$I '
            'WHERE bank_id = $1 AND substring(%2$I FROM 1 FOR 8) <> decode($2, ''hex'') '
            'LIMIT $3 FOR UPDATE', one.table_name, one.column_name, one.bound_to)
        USING p_bank, p_key, p_limit;
    END LOOP;
END $$;
COMMENT ON FUNCTION list_to_reseal IS
    'The next values of each column under another key than this, with where they stand and what '
    'they are bound to. Locks their rows, table by table in the order of their names.';

CREATE FUNCTION reseal(
    p_bank integer, p_key text, p_tables text[], p_columns text[], p_places text[],
    p_sealed bytea[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    one record;
BEGIN
    IF NOT vault.is_current_key(p_bank, p_key) THEN
        RETURN;
    END IF;
    FOR one IN SELECT c.table_name, c.column_name, r.place, r.sealed
               FROM unnest(p_tables, p_columns, p_places, p_sealed) AS r(tab, col, place, sealed)
               JOIN sealed_column c ON (c.table_name, c.column_name) = (r.tab, r.col)
               WHERE substring(r.sealed FROM 1 FOR 8) = decode(p_key, 'hex') LOOP
        EXECUTE format('UPDATE %1$I SET %2$I = $1 WHERE bank_id = $2 AND ctid = $3::tid '
                       'AND substring(%2$I FROM 1 FOR 8) <> decode($4, ''hex'')',
                       one.table_name, one.column_name)
        USING one.sealed, p_bank, one.place, p_key;
    END LOOP;
END $$;
COMMENT ON FUNCTION reseal IS
    'What list_to_reseal gave in the same transaction, under this key, which is the current one; a '
    'value under it already stays, so nobody puts another in its place.';

GRANT EXECUTE ON FUNCTION count_sealed, list_to_reseal, reseal TO timebank_app;


-- ── Login: what people and systems prove themselves with ────────────────────────────────────────
--
-- Secrets stand here as Argon2id hashes, sealed, so that who reads the database alone cannot even
-- try a million PINs. What counts once (a code, a time step) is
-- spent by a function in one statement: of two at once, one finds nothing left.

CREATE TYPE secret_kind AS ENUM (
    'pin',
    'password',
    'new_password'  -- of an enrolment that waits for its confirmation
);

CREATE TABLE login_secret (
    bank_id      integer     NOT NULL,
    party_id     uuid        NOT NULL,
    kind         secret_kind NOT NULL,
    sealed_hash  bytea       NOT NULL,
    set_by       uuid        NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, party_id, kind),
    CONSTRAINT password_set_by_oneself CHECK (kind = 'pin' OR set_by = party_id)
);
COMMENT ON TABLE login_secret IS
    'The PIN and the password in force, and one that waits, as sealed Argon2id hashes.';
COMMENT ON COLUMN login_secret.set_by IS 'Its person, or who typed in a PIN for them.';

CREATE TABLE one_time_code (
    bank_id      integer     NOT NULL,
    party_id     uuid        NOT NULL,
    code_id      uuid        NOT NULL,
    sealed_hash  bytea       NOT NULL,
    issued_by    uuid        NOT NULL,
    issued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz NOT NULL,
    used_at      timestamptz,
    PRIMARY KEY (bank_id, party_id),
    CONSTRAINT one_time_code_not_to_oneself CHECK (issued_by <> party_id)
);
COMMENT ON TABLE one_time_code IS
    'The last code that a service point gave to a person; a new one takes the place of the old.';

CREATE TABLE enrolment (
    bank_id        integer     NOT NULL,
    code_hash      bytea       NOT NULL,
    party_id       uuid        NOT NULL,
    sealed_secret  bytea,
    invited_by     uuid        NOT NULL,
    invited_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    used_at        timestamptz,
    PRIMARY KEY (bank_id, code_hash),
    CONSTRAINT enrolment_code_is_sha256 CHECK (length(code_hash) = 32)
);
COMMENT ON TABLE enrolment IS
    'Invitations to set a password and a second factor, by the SHA-256 of 128 random bits.';
COMMENT ON COLUMN enrolment.sealed_secret IS
    'The second factor that was shown last, another each time: who saw an earlier one has none.';
CREATE INDEX enrolment_of_party ON enrolment (bank_id, party_id) WHERE used_at IS NULL;

CREATE TABLE staff_login (
    bank_id        integer     NOT NULL,
    party_id       uuid        NOT NULL,
    staff_number   text        NOT NULL
                               CONSTRAINT staff_number_plain CHECK (staff_number ~ '^[0-9]{8}$'),
    sealed_secret  bytea       NOT NULL,
    last_step      bigint      NOT NULL,
    enrolled_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    invited_by     uuid        NOT NULL,
    confirmed_by   uuid,
    is_waiting     boolean     NOT NULL,
    PRIMARY KEY (bank_id, party_id, is_waiting),
    CONSTRAINT staff_number_unique UNIQUE (bank_id, staff_number),
    CONSTRAINT enrolment_confirmed_by_another CHECK (
        confirmed_by NOT IN (party_id, invited_by))
);
COMMENT ON TABLE staff_login IS
    'Who logs in by password: a random number (工号) for a name, and the sealed second factor.';
COMMENT ON COLUMN staff_login.last_step IS 'The last time step that counted; no earlier one will.';
COMMENT ON COLUMN staff_login.confirmed_by IS
    'Who heard the number from its person: another than invited them, who could have enrolled in '
    'their place (see check_session).';
COMMENT ON COLUMN staff_login.is_waiting IS
    'It waits for its confirmation, beside the login in force if there is one.';

CREATE TABLE login_failure (
    bank_id         integer        NOT NULL,
    method          session_method NOT NULL,
    subject_hash    bytea          NOT NULL,
    is_known        boolean        NOT NULL,
    failures        integer        NOT NULL,
    last_failed_at  timestamptz    NOT NULL,
    free_at         timestamptz    NOT NULL,
    PRIMARY KEY (bank_id, method, subject_hash),
    CONSTRAINT login_failure_subject_is_sha256 CHECK (length(subject_hash) = 32)
);
COMMENT ON TABLE login_failure IS
    'Attempts since the last success, by the SHA-256 of the card or number that was shown, known '
    'or not. An attempt counts as failed when it begins; a success takes the row away.';
COMMENT ON COLUMN login_failure.free_at IS 'No attempt is looked at before.';
CREATE INDEX login_failure_by_time ON login_failure (bank_id, method, last_failed_at);

CREATE TABLE api_key (
    bank_id              integer     NOT NULL,
    api_key_id           uuid        NOT NULL,
    grant_id             uuid        NOT NULL,
    scopes               text[]      NOT NULL,
    lifetime_days        integer     NOT NULL
                                     CONSTRAINT api_key_expires CHECK (lifetime_days > 0),
    session_id           uuid        NOT NULL,
    previous_session_id  uuid,
    issued_by            uuid        NOT NULL,
    issued_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    rotated_at           timestamptz,
    rotated_by           uuid,
    revoked_at           timestamptz,
    PRIMARY KEY (bank_id, api_key_id),
    CONSTRAINT api_key_has_scopes CHECK (cardinality(scopes) > 0)
);
COMMENT ON TABLE api_key IS
    'Keys of systems. A key is a session; a rotated one has two that count, for a while.';
COMMENT ON COLUMN api_key.rotated_by IS
    'The last person who changed it, and so holds it; a key that changes itself leaves it.';

CREATE FUNCTION count_failures(p_row login_failure) RETURNS integer
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE WHEN p_row.last_failed_at < clock_timestamp() - interval '1 day' THEN 0
                ELSE p_row.failures END;
$$;
COMMENT ON FUNCTION count_failures IS 'The failures that count still: a day without one ends them.';

CREATE FUNCTION charge_login(
    p_bank integer, p_method session_method, p_subject bytea, p_is_known boolean, p_waits integer[]
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO login_failure AS f
    VALUES (p_bank, p_method, p_subject, p_is_known, 1, clock_timestamp(),
            clock_timestamp() + make_interval(secs => p_waits[1]))
    ON CONFLICT (bank_id, method, subject_hash) DO UPDATE
    SET failures = count_failures(f) + 1,
        is_known = p_is_known,
        last_failed_at = clock_timestamp(),
        free_at = clock_timestamp() + make_interval(
            secs => p_waits[least(count_failures(f) + 1, cardinality(p_waits))])
    WHERE f.free_at <= clock_timestamp();
    IF NOT FOUND THEN  -- and if the row is gone since, somebody got in: come again
        RETURN coalesce((
            SELECT greatest(1, ceil(extract(epoch FROM free_at - clock_timestamp())))
            FROM login_failure
            WHERE bank_id = p_bank AND method = p_method AND subject_hash = p_subject), 1);
    END IF;
    DELETE FROM login_failure WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM login_failure
        WHERE bank_id = p_bank AND method = p_method
          AND last_failed_at < clock_timestamp() - interval '1 day'
        ORDER BY last_failed_at LIMIT 2 FOR UPDATE SKIP LOCKED));
    RETURN 0;
END $$;
COMMENT ON FUNCTION charge_login IS
    'Counts an attempt as failed before it is looked at, so that many at once get no more than one '
    'after another. p_waits: seconds to wait after the 1st, 2nd, … failure, the last for all more. '
    'Returns the seconds still to wait, and then counts nothing; 0: go on. Locks the row; then two '
    'that were unused for a day go, unless somebody holds them.';

CREATE FUNCTION hold_person(p_bank integer, p_party uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM party WHERE (bank_id, party_id) = (p_bank, p_party) FOR SHARE;
    RETURN NOT EXISTS (SELECT FROM party WHERE (bank_id, party_id) = (p_bank, p_party)
                       AND erased_at IS NOT NULL);  -- sees what erasure let wait
END $$;
COMMENT ON FUNCTION hold_person IS
    'Whether somebody was not erased; if so, they are not until the transaction ends. Before '
    'anything else of theirs is locked.';

CREATE FUNCTION refuse_erased(p_bank integer, p_party uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT hold_person(p_bank, p_party) THEN
        PERFORM refuse('person_is_registered', 'who was erased logs in no more');
    END IF;
END $$;
COMMENT ON FUNCTION refuse_erased IS 'Nothing to log in with is left of who was erased.';

CREATE FUNCTION check_enrolment() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM refuse_erased(NEW.bank_id, NEW.party_id);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_enrolment IS 'Nobody invites who was erased.';
CREATE TRIGGER enrolment_is_lawful BEFORE INSERT ON enrolment
    FOR EACH ROW EXECUTE FUNCTION check_enrolment();

CREATE FUNCTION refuse_both_halves(p_bank integer, p_party uuid, p_by uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM resident WHERE (bank_id, resident_id) = (p_bank, p_party) FOR NO KEY UPDATE;
    IF p_by <> p_party AND EXISTS (
            SELECT FROM card WHERE bank_id = p_bank AND resident_id = p_party
            AND issued_by = p_by AND revoked_at IS NULL) THEN
        PERFORM refuse('card_and_pin_by_two', 'who issued the card gives no secret to it');
    END IF;
END $$;
COMMENT ON FUNCTION refuse_both_halves IS
    'Refuses who issued the card in use: they have seen it, and with code or PIN could log in as '
    'the resident. Locks the resident''s row, as issue_card does.';

CREATE FUNCTION issue_one_time_code(
    p_bank integer, p_party uuid, p_code uuid, p_sealed_hash bytea, p_by uuid, p_lifetime interval
) RETURNS timestamptz LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    until timestamptz := clock_timestamp() + p_lifetime;
BEGIN
    PERFORM refuse_erased(p_bank, p_party);
    PERFORM refuse_both_halves(p_bank, p_party, p_by);
    INSERT INTO one_time_code (bank_id, party_id, code_id, sealed_hash, issued_by, expires_at)
    VALUES (p_bank, p_party, p_code, p_sealed_hash, p_by, until)
    ON CONFLICT (bank_id, party_id) DO UPDATE
    SET code_id = excluded.code_id, sealed_hash = excluded.sealed_hash,
        issued_by = excluded.issued_by, issued_at = excluded.issued_at,
        expires_at = excluded.expires_at, used_at = NULL;
    RETURN until;
END $$;
COMMENT ON FUNCTION issue_one_time_code IS
    'A new code, in the place of an earlier one, by another than issued the card in use.';

CREATE FUNCTION set_secret(
    p_bank integer, p_party uuid, p_kind secret_kind, p_sealed_hash bytea, p_by uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM refuse_erased(p_bank, p_party);
    IF p_kind = 'pin' THEN
        PERFORM refuse_both_halves(p_bank, p_party, p_by);
    END IF;
    INSERT INTO login_secret VALUES (p_bank, p_party, p_kind, p_sealed_hash, p_by)
    ON CONFLICT (bank_id, party_id, kind) DO UPDATE
    SET sealed_hash = excluded.sealed_hash, set_by = excluded.set_by, set_at = clock_timestamp();
END $$;
COMMENT ON FUNCTION set_secret IS
    'Puts a PIN or password in force; a PIN by its person or another than issued the card in use.';

CREATE FUNCTION use_one_time_code(p_bank integer, p_party uuid, p_code uuid) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    WITH used AS (
        UPDATE one_time_code SET used_at = clock_timestamp()
        WHERE bank_id = p_bank AND party_id = p_party AND code_id = p_code
          AND used_at IS NULL AND expires_at > clock_timestamp()
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM used);
$$;
COMMENT ON FUNCTION use_one_time_code IS 'Spends a code; false if it was spent, replaced or late.';

CREATE FUNCTION use_time_step(p_bank integer, p_party uuid, p_step bigint) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    WITH used AS (
        UPDATE staff_login SET last_step = p_step
        WHERE bank_id = p_bank AND party_id = p_party AND NOT is_waiting
          AND last_step < p_step
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM used);
$$;
COMMENT ON FUNCTION use_time_step IS
    'Spends a time step of a second factor and all before it; false if it was spent.';

CREATE FUNCTION complete_enrolment(
    p_bank integer, p_code_hash bytea, p_sealed_secret bytea, p_staff_number text, p_step bigint,
    p_sealed_hash bytea
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    spent enrolment;
    number text;
    waits  boolean;
BEGIN
    PERFORM hold_person(p_bank, party_id) FROM enrolment  -- once erased, there is no invitation
    WHERE bank_id = p_bank AND code_hash = p_code_hash;
    UPDATE enrolment SET used_at = clock_timestamp()
    WHERE bank_id = p_bank AND code_hash = p_code_hash
      AND used_at IS NULL AND expires_at > clock_timestamp() AND sealed_secret = p_sealed_secret
    RETURNING * INTO spent;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE enrolment SET used_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = spent.party_id AND used_at IS NULL;
    waits := EXISTS (
        SELECT FROM party WHERE (bank_id, party_id) = (p_bank, spent.invited_by));
    DELETE FROM staff_login
    WHERE bank_id = p_bank AND party_id = spent.party_id AND is_waiting;
    DELETE FROM login_secret
    WHERE bank_id = p_bank AND party_id = spent.party_id AND kind = 'new_password';
    INSERT INTO staff_login AS s (bank_id, party_id, staff_number, sealed_secret, last_step,
                                  invited_by, is_waiting)
    VALUES (p_bank, spent.party_id, p_staff_number, spent.sealed_secret, p_step,
            spent.invited_by, waits)
    ON CONFLICT (bank_id, party_id, is_waiting) DO UPDATE
    SET sealed_secret = excluded.sealed_secret, last_step = excluded.last_step,
        enrolled_at = clock_timestamp(), invited_by = excluded.invited_by, confirmed_by = NULL
    RETURNING s.staff_number INTO number;
    INSERT INTO login_secret
    VALUES (p_bank, spent.party_id, CASE WHEN waits THEN 'new_password' ELSE 'password' END
            ::secret_kind, p_sealed_hash, spent.party_id)
    ON CONFLICT (bank_id, party_id, kind) DO UPDATE
    SET sealed_hash = excluded.sealed_hash, set_at = clock_timestamp();
    IF NOT waits THEN
        UPDATE session SET revoked_at = clock_timestamp()
        WHERE bank_id = p_bank AND party_id = spent.party_id AND revoked_at IS NULL;
    END IF;
    RETURN number;
END $$;
COMMENT ON FUNCTION complete_enrolment IS
    'Spends an invitation (and all others of that person) with the second factor that it showed '
    'last. Whom a person invited has a new number, and waits until somebody hears it; a login that '
    'is in force stays so meanwhile. Whom the operator invited keeps their number, and password '
    'and second factor are in force: all sessions end. Returns the number; null if the invitation '
    'was spent, or went with its person, whose party it holds first (see hold_person).';

CREATE FUNCTION confirm_enrolment(p_bank integer, p_staff_number text, p_by uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    found staff_login;
BEGIN
    SELECT * INTO found FROM staff_login
    WHERE (bank_id, staff_number) = (p_bank, p_staff_number) FOR UPDATE;
    IF found.party_id IS NULL OR found.confirmed_by IS NOT NULL THEN
        RETURN found.party_id IS NOT NULL;
    END IF;
    IF found.is_waiting THEN
        DELETE FROM staff_login
        WHERE bank_id = p_bank AND party_id = found.party_id AND NOT is_waiting;
        DELETE FROM login_secret
        WHERE bank_id = p_bank AND party_id = found.party_id AND kind = 'password';
        UPDATE login_secret SET kind = 'password'
        WHERE bank_id = p_bank AND party_id = found.party_id AND kind = 'new_password';
        UPDATE session SET revoked_at = clock_timestamp()
        WHERE bank_id = p_bank AND party_id = found.party_id AND revoked_at IS NULL;
    END IF;
    UPDATE staff_login SET confirmed_by = p_by, is_waiting = false
    WHERE (bank_id, staff_number) = (p_bank, p_staff_number);
    RETURN true;
END $$;
COMMENT ON FUNCTION confirm_enrolment IS
    'Puts the login of this number in force, in the place of the one before, all sessions of which '
    'end: its person may log in from now on. False if nobody has the number (any more).';

CREATE FUNCTION check_session() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    login staff_login;
BEGIN
    SELECT * INTO login FROM staff_login
    WHERE bank_id = NEW.bank_id AND party_id = NEW.party_id AND NOT is_waiting;
    IF NOT FOUND OR login.confirmed_by IS NULL
            AND (NEW.role IN ('clerk', 'merchant')
                 OR EXISTS (SELECT FROM party WHERE (bank_id, party_id)
                            = (login.bank_id, login.invited_by))) THEN
        PERFORM refuse('enrolment_is_confirmed', 'nobody else has seen who enrolled');
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_session IS
    'By password logs in who has a login in force: whom a person invited, once another has '
    'confirmed who enrolled, a merchant''s people always; by command, the operator of the machine '
    'invites staff alone.';
CREATE TRIGGER session_by_password_is_lawful BEFORE INSERT ON session FOR EACH ROW
    WHEN (NEW.method = 'password') EXECUTE FUNCTION check_session();

CREATE FUNCTION may_hold_key(p_bank integer, p_grant uuid, p_person uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (
        SELECT FROM role_grant s
        JOIN role_grant m ON m.bank_id = s.bank_id AND m.merchant_id = s.merchant_id
            AND m.role = 'merchant' AND m.revoked_at IS NULL AND m.party_id = p_person
        JOIN party p ON p.bank_id = m.bank_id AND p.party_id = m.party_id AND p.kind = 'person'
        WHERE s.bank_id = p_bank AND s.grant_id = p_grant AND s.role = 'merchant'
          AND s.revoked_at IS NULL
    ) AND NOT EXISTS (
        SELECT FROM role_grant WHERE bank_id = p_bank AND party_id = p_person
        AND role IN ('coordinator', 'auditor', 'administrator') AND revoked_at IS NULL);
$$;
COMMENT ON FUNCTION may_hold_key IS
    'A key redeems, and who issues or changes it holds it: so that is a person of the same '
    'merchant, and nobody who works for the programme as well.';

CREATE FUNCTION check_key_holder(p_bank integer, p_grant uuid, p_person uuid) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM role_grant s
    JOIN role_grant m ON m.bank_id = s.bank_id AND m.merchant_id = s.merchant_id
        AND m.role = 'merchant' AND m.revoked_at IS NULL AND m.party_id = p_person
    WHERE s.bank_id = p_bank AND s.grant_id = p_grant AND s.role = 'merchant'
      AND s.revoked_at IS NULL
    FOR SHARE OF s, m;
    IF NOT may_hold_key(p_bank, p_grant, p_person) THEN
        PERFORM refuse('api_key_issued_by_its_merchant', 'whoever issues a key has seen it');
    END IF;
END $$;
COMMENT ON FUNCTION check_key_holder IS
    'Refuses who may not hold a key on this grant. Locks it and the person''s own for share.';

CREATE FUNCTION check_api_key() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_key_holder(NEW.bank_id, NEW.grant_id, NEW.issued_by);
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_api_key IS 'Who issues a key may hold it, whoever writes it.';

CREATE FUNCTION check_token() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF EXISTS (SELECT FROM party WHERE (bank_id, party_id) = (NEW.bank_id, NEW.party_id)
               AND kind = 'system')
       AND NOT EXISTS (SELECT FROM api_key
                       WHERE bank_id = NEW.bank_id AND grant_id = NEW.grant_id
                         AND NEW.session_id IN (session_id, previous_session_id)) THEN
        PERFORM refuse('systems_token_is_a_key', 'nobody issued this token as a key');
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION check_token IS
    'What a merchant''s system shows is a key, by the rules of keys, however it came by a session: '
    'asked at the commit, since a key is written after its session.';
CREATE CONSTRAINT TRIGGER token_of_system_is_key AFTER INSERT ON session
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (NEW.role IN ('merchant', 'clerk')) EXECUTE FUNCTION check_token();
CREATE TRIGGER api_key_is_lawful BEFORE INSERT ON api_key
    FOR EACH ROW EXECUTE FUNCTION check_api_key();

CREATE FUNCTION end_keys_of_holder() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    key api_key;
BEGIN
    IF TG_OP = 'INSERT' THEN
        PERFORM FROM role_grant WHERE bank_id = NEW.bank_id AND party_id = NEW.party_id
            AND role = 'merchant' AND revoked_at IS NULL
        ORDER BY grant_id FOR NO KEY UPDATE;
    END IF;
    FOR key IN
        SELECT * FROM api_key
        WHERE bank_id = NEW.bank_id AND revoked_at IS NULL
          AND coalesce(rotated_by, issued_by) = NEW.party_id
          AND NOT may_hold_key(bank_id, grant_id, NEW.party_id)
        ORDER BY api_key_id FOR UPDATE
    LOOP
        UPDATE session SET expires_at = least(expires_at, clock_timestamp() + interval '1 day')
        WHERE bank_id = NEW.bank_id
          AND session_id IN (key.session_id, key.previous_session_id) AND revoked_at IS NULL;
    END LOOP;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION end_keys_of_holder IS
    'Whose last role at a merchant ends, or who works for the programme from now on, holds its '
    'keys for a day more: time for another of its people to change them. Locks their grants, which '
    'who issues a key holds for share, then the keys.';
CREATE TRIGGER keys_end_with_their_holder AFTER UPDATE OF revoked_at ON role_grant FOR EACH ROW
    WHEN (NEW.role = 'merchant' AND OLD.revoked_at IS NULL AND NEW.revoked_at IS NOT NULL)
    EXECUTE FUNCTION end_keys_of_holder();
CREATE TRIGGER keys_end_with_a_role_of_staff AFTER INSERT ON role_grant FOR EACH ROW
    WHEN (NEW.role IN ('coordinator', 'auditor', 'administrator'))
    EXECUTE FUNCTION end_keys_of_holder();

CREATE FUNCTION rotate_api_key(
    p_bank integer, p_key uuid, p_session uuid, p_asking uuid, p_overlap interval, p_by uuid
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    key       api_key;
    by_itself boolean;
BEGIN
    SELECT * INTO key FROM api_key WHERE bank_id = p_bank AND api_key_id = p_key;
    by_itself := EXISTS (SELECT FROM role_grant WHERE (bank_id, grant_id) = (p_bank, key.grant_id)
                         AND party_id = p_by);
    IF key.api_key_id IS NOT NULL THEN
        PERFORM check_key_holder(p_bank, key.grant_id, CASE
            WHEN by_itself THEN coalesce(key.rotated_by, key.issued_by) ELSE p_by END);
    END IF;
    SELECT * INTO key FROM api_key
    WHERE bank_id = p_bank AND api_key_id = p_key AND revoked_at IS NULL FOR UPDATE;
    IF NOT FOUND OR key.previous_session_id = p_asking
            OR by_itself AND key.session_id IS DISTINCT FROM p_asking
            OR NOT EXISTS (SELECT FROM session
                           WHERE bank_id = p_bank AND session_id = key.session_id
                             AND revoked_at IS NULL AND expires_at > clock_timestamp()) THEN
        RETURN false;
    END IF;
    UPDATE session SET expires_at = least(expires_at, clock_timestamp() + p_overlap)
    WHERE bank_id = p_bank AND session_id = key.session_id AND revoked_at IS NULL;
    UPDATE session SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND session_id = key.previous_session_id AND revoked_at IS NULL;
    UPDATE api_key SET session_id = p_session, previous_session_id = key.session_id,
                       rotated_at = clock_timestamp(),
                       rotated_by = CASE WHEN by_itself THEN rotated_by ELSE p_by END
    WHERE bank_id = p_bank AND api_key_id = p_key;
    RETURN true;
END $$;
COMMENT ON FUNCTION rotate_api_key IS
    'Puts a new session in the place of a key''s newest, which counts for p_overlap more; with the '
    'new one there are two. p_by is a person who may hold it, or its system, which does so by the '
    'newest session alone and while whoever holds the key may. False, and nothing is done, for a '
    'key that is none any more and for the older of two: one that leaked makes no new ones. Locks '
    'the grants for share, then the key.';

SELECT make_sealed('login_secret', 'sealed_hash',
                   $$format('timebank login|%s|%s|%s', bank_id, party_id,
                            CASE WHEN kind = 'pin' THEN 'pin' ELSE 'password' END)$$),
       make_sealed('one_time_code', 'sealed_hash',
                   $$format('timebank login|%s|%s|%s', bank_id, party_id, code_id)$$),
       make_sealed('enrolment', 'sealed_secret',
                   $$format('timebank login|%s|%s|second factor', bank_id, party_id)$$),
       make_sealed('staff_login', 'sealed_secret',
                   $$format('timebank login|%s|%s|second factor', bank_id, party_id)$$);

SELECT make_final('api_key', 'revoked_at');

GRANT INSERT ON enrolment TO timebank_app;
GRANT INSERT (bank_id, api_key_id, grant_id, scopes, lifetime_days, session_id, issued_by)
    ON api_key TO timebank_app;
GRANT UPDATE (set_at) ON login_secret TO timebank_app;  -- what holding a row in force asks for
GRANT UPDATE (sealed_secret) ON enrolment TO timebank_app;
GRANT UPDATE (revoked_at) ON api_key TO timebank_app;
GRANT DELETE ON login_failure TO timebank_app;
GRANT EXECUTE ON FUNCTION
    charge_login, issue_one_time_code, set_secret, use_one_time_code, use_time_step,
    complete_enrolment, confirm_enrolment, rotate_api_key TO timebank_app;


-- ── Counter: how often somebody may ask ─────────────────────────────────────────────────────────

CREATE TABLE allowance (
    bank_id       integer     NOT NULL,
    subject_hash  bytea       NOT NULL,
    free_at       timestamptz NOT NULL,
    PRIMARY KEY (bank_id, subject_hash),
    CONSTRAINT allowance_subject_is_sha256 CHECK (length(subject_hash) = 32)
);
COMMENT ON TABLE allowance IS
    'Who may ask so much at once and then so often: each time moves free_at on by its share.';
COMMENT ON COLUMN allowance.free_at IS 'Nothing is used up from then on.';
CREATE INDEX allowance_by_time ON allowance (bank_id, free_at);

CREATE FUNCTION use_allowance(
    p_bank integer, p_subject bytea, p_each interval, p_at_once integer
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    ahead interval := p_each * (p_at_once - 1);
BEGIN
    DELETE FROM allowance WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM allowance
        WHERE bank_id = p_bank AND free_at < clock_timestamp() - interval '1 hour'
        ORDER BY free_at LIMIT 2 FOR UPDATE SKIP LOCKED));
    INSERT INTO allowance AS a VALUES (p_bank, p_subject, clock_timestamp() + p_each)
    ON CONFLICT (bank_id, subject_hash) DO UPDATE
    SET free_at = greatest(a.free_at, clock_timestamp()) + p_each
    WHERE a.free_at <= clock_timestamp() + ahead;
    IF FOUND THEN
        RETURN 0;
    END IF;
    RETURN (SELECT greatest(1, ceil(extract(epoch FROM free_at - ahead - clock_timestamp())))
            FROM allowance WHERE bank_id = p_bank AND subject_hash = p_subject);
END $$;
COMMENT ON FUNCTION use_allowance IS
    'Uses one of p_at_once, of which one comes back each p_each. Returns the seconds to wait, and '
    'then nothing is used; 0: go on. Locks the row. Rows unused for an hour go, two at a time.';

CREATE FUNCTION give_back_allowance(p_bank integer, p_subject bytea, p_each interval)
RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    UPDATE allowance SET free_at = free_at - p_each
    WHERE bank_id = p_bank AND subject_hash = p_subject;
$$;
COMMENT ON FUNCTION give_back_allowance IS 'Takes back what use_allowance used in the transaction.';

GRANT EXECUTE ON FUNCTION use_allowance, give_back_allowance TO timebank_app;


-- ── Service ─────────────────────────────────────────────────────────────────────────────────────
-- People, organisers and teams are random ids of the registry.
-- lock order   Rates of a category (advisory), records by record_id, activities for key share by
--              activity_id, then balances (see above).
--              Who holds a person's wallets is alone with their carried remainder and their day.

CREATE FUNCTION check_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF coalesce(OLD.status::text, '') || '>' || NEW.status <> ALL (TG_ARGV) THEN
        RAISE EXCEPTION 'a % cannot go from % to %', TG_TABLE_NAME, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_step IS
    'Lets a status go only the ways its arguments name, as from>to; a new row comes from nothing.';

CREATE TABLE category (
    bank_id      integer     NOT NULL,
    category_id  uuid        NOT NULL,
    code         text        NOT NULL
                             CONSTRAINT category_code_plain CHECK (code ~ '^[a-z][a-z0-9-]{0,31}$'),
    name         text        NOT NULL
                             CONSTRAINT category_name_short CHECK (length(name) BETWEEN 1 AND 80),
    is_risky     boolean     NOT NULL DEFAULT false,
    opened_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, category_id),
    CONSTRAINT category_code_unique UNIQUE (bank_id, code)
);
COMMENT ON TABLE category IS 'A kind of service: data, not code. Every record has one.';
COMMENT ON COLUMN category.is_risky IS 'Its activities need an insurance reference.';

CREATE TABLE rate (
    bank_id          integer     NOT NULL,
    rate_id          uuid        NOT NULL,
    category_id      uuid        NOT NULL,
    points_per_hour  integer     NOT NULL
                                 CONSTRAINT rate_sane CHECK (points_per_hour BETWEEN 0 AND 1000),
    effective_on     date        NOT NULL,
    proposed_by      uuid        NOT NULL,
    proposed_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    approved_by      uuid        CONSTRAINT rate_approver_is_another
                                 CHECK (approved_by <> proposed_by),
    approved_at      timestamptz,
    PRIMARY KEY (bank_id, rate_id),
    CONSTRAINT rate_approved_at_and_by CHECK ((approved_by IS NULL) = (approved_at IS NULL))
);
CREATE UNIQUE INDEX rate_one_a_day ON rate (bank_id, category_id, effective_on)
    WHERE approved_by IS NOT NULL;
COMMENT ON TABLE rate IS
    'Versions of a category''s points for an hour. In force on a local day is the latest approved '
    'one that took effect by then; before the first, the bank''s own rate.';

CREATE TABLE service_cap (
    bank_id              integer     NOT NULL,
    effective_on         date        NOT NULL,
    minutes_per_activity integer     CONSTRAINT cap_of_activity_not_negative
                                     CHECK (minutes_per_activity >= 0),
    minutes_per_day      integer     CONSTRAINT cap_of_day_not_negative
                                     CHECK (minutes_per_day >= 0),
    set_by               uuid        NOT NULL,
    set_at               timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, effective_on)
);
COMMENT ON TABLE service_cap IS
    'What one person may have confirmed on a local day, of one activity and in all; null: no cap.';

CREATE TYPE cancel_reason AS ENUM ('weather', 'too_few', 'organiser', 'emergency');

CREATE TABLE activity (
    bank_id           integer     NOT NULL,
    activity_id       uuid        NOT NULL,
    category_id       uuid        NOT NULL,
    title             text        NOT NULL CONSTRAINT activity_title_short
                                  CHECK (length(title) BETWEEN 1 AND 200),
    organiser_id      uuid        NOT NULL,
    branch_id         uuid,
    service_point_id  uuid,
    first_start       timestamp,
    wall_minutes      integer     CONSTRAINT activity_touches_two_days_at_most
                                  CHECK (wall_minutes BETWEEN 1 AND 1200),
    rule              text,
    capacity          integer     CONSTRAINT activity_capacity_positive CHECK (capacity > 0),
    insurance_ref     text        CONSTRAINT activity_insurance_ref_short
                                  CHECK (length(insurance_ref) BETWEEN 1 AND 80),
    source_ref        text,
    planned_until     date,
    made_by           uuid        NOT NULL,
    made_at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    cancelled_at      timestamptz,
    cancelled_by      uuid,
    cancel_reason     cancel_reason,
    PRIMARY KEY (bank_id, activity_id),
    CONSTRAINT activity_source_ref_unique UNIQUE (bank_id, source_ref),
    CONSTRAINT activity_planned_or_imported CHECK (
        (first_start IS NULL) = (source_ref IS NOT NULL)
        AND (first_start IS NULL) = (wall_minutes IS NULL)
        AND (first_start IS NOT NULL OR rule IS NULL)),
    CONSTRAINT activity_planned_ahead_by_its_rule CHECK (
        (rule IS NULL) = (planned_until IS NULL)),
    CONSTRAINT activity_cancelled_whole CHECK (
        num_nonnulls(cancelled_at, cancelled_by, cancel_reason) IN (0, 3))
);
COMMENT ON TABLE activity IS 'What residents serve at, once or by a rule; or an event of a rota.';
COMMENT ON COLUMN activity.first_start IS 'By the clock on the wall, in the bank''s time zone.';
COMMENT ON COLUMN activity.wall_minutes IS
    'From start to end by the same clock; where it is changed in between, an hour more or less '
    'is served. At most 20 hours: with the hour of a changed clock and late check-out, no record '
    'touches three local days.';
COMMENT ON COLUMN activity.rule IS 'An RRULE of RFC 5545, without its name.';
COMMENT ON COLUMN activity.planned_until IS
    'The local day up to which its shifts are planned without anybody asking.';
CREATE INDEX activity_to_plan ON activity (bank_id, planned_until)
    WHERE rule IS NOT NULL AND cancelled_at IS NULL;
COMMENT ON COLUMN activity.source_ref IS 'The event in the rota it was imported from.';

CREATE TABLE team (
    bank_id      integer     NOT NULL,
    team_id      uuid        NOT NULL,
    activity_id  uuid        NOT NULL,
    joined_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, activity_id, team_id)
);
COMMENT ON TABLE team IS
    'Which organisations and 双报到 units attend an activity as such; their members name them.';

CREATE TABLE code_secret (
    bank_id      integer NOT NULL,
    activity_id  uuid    NOT NULL,
    secret       bytea   NOT NULL CONSTRAINT code_secret_long CHECK (length(secret) = 32),
    PRIMARY KEY (bank_id, activity_id)
);
COMMENT ON TABLE code_secret IS 'What the rotating code of an activity is made from.';

CREATE TABLE shift (
    bank_id        integer     NOT NULL,
    shift_id       uuid        NOT NULL,
    activity_id    uuid        NOT NULL,
    served_on      date        NOT NULL,
    starts_at      timestamptz,
    ends_at        timestamptz CONSTRAINT shift_ends_after_it_starts CHECK (ends_at > starts_at),
    source_ref     text,
    cancelled_at   timestamptz,
    cancelled_by   uuid,
    cancel_reason  cancel_reason,
    PRIMARY KEY (bank_id, shift_id),
    CONSTRAINT shift_planned_once UNIQUE (bank_id, activity_id, starts_at),
    CONSTRAINT shift_source_ref_unique UNIQUE (bank_id, source_ref),
    CONSTRAINT shift_planned_or_imported CHECK (
        (starts_at IS NULL) = (source_ref IS NOT NULL)
        AND (starts_at IS NULL) = (ends_at IS NULL)),
    CONSTRAINT shift_cancelled_whole CHECK (
        num_nonnulls(cancelled_at, cancelled_by, cancel_reason) IN (0, 3))
);
CREATE INDEX shift_by_end ON shift (bank_id, ends_at);
COMMENT ON TABLE shift IS
    'One occurrence of an activity. That of a rota is known by its date alone.';

CREATE TABLE sign_up (
    bank_id       integer     NOT NULL,
    shift_id      uuid        NOT NULL,
    place         bigint      NOT NULL,
    person_id     uuid        NOT NULL,
    team_id       uuid,
    signed_up_by  uuid        NOT NULL,
    signed_up_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    left_at       timestamptz,
    CONSTRAINT sign_up_in_order PRIMARY KEY (bank_id, shift_id, place)
);
CREATE UNIQUE INDEX sign_up_once ON sign_up (bank_id, shift_id, person_id) WHERE left_at IS NULL;
COMMENT ON TABLE sign_up IS 'Who wants to come, in the order in which they said so.';

CREATE VIEW roster AS
    SELECT s.bank_id, s.shift_id, s.place, s.person_id, s.team_id, s.signed_up_at,
           row_number() OVER (PARTITION BY s.bank_id, s.shift_id ORDER BY s.place)
               <= coalesce(a.capacity, 2147483647) AS has_place
    FROM sign_up s
    JOIN shift USING (bank_id, shift_id)
    JOIN activity a USING (bank_id, activity_id)
    WHERE s.left_at IS NULL;
COMMENT ON VIEW roster IS
    'Who has a place and who waits: the first by their order have one, as many as there are. So a '
    'place left goes to the first who waits, and no more than the capacity ever have one.';

CREATE TYPE check_means AS ENUM ('card', 'code', 'scan_list', 'planned_end', 'review');
COMMENT ON TYPE check_means IS
    'How somebody was checked in or out: by card or number at the coordinator, by the rotating '
    'code, from a scan list, or nobody did: at the planned end, or as a reviewer says.';

CREATE TABLE attendance (
    bank_id            integer     NOT NULL,
    attendance_id      uuid        NOT NULL,
    shift_id           uuid        NOT NULL,
    person_id          uuid        NOT NULL,
    team_id            uuid,
    checked_in_at      timestamptz NOT NULL,
    checked_in_by      uuid        NOT NULL,
    checked_in_means   check_means NOT NULL,
    checked_out_at     timestamptz CONSTRAINT attendance_ends_after_it_begins
                                   CHECK (checked_out_at >= checked_in_at),
    checked_out_by     uuid,
    checked_out_means  check_means,
    is_pending         boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (bank_id, attendance_id),
    CONSTRAINT attendance_checked_out_whole CHECK (
        num_nonnulls(checked_out_at, checked_out_means) IN (0, 2))
);
CREATE UNIQUE INDEX attendance_open_once ON attendance (bank_id, shift_id, person_id)
    WHERE checked_out_at IS NULL;
CREATE INDEX attendance_of_shift ON attendance (bank_id, shift_id);
COMMENT ON TABLE attendance IS 'Who was there from when to when; evidence for service records.';
COMMENT ON COLUMN attendance.is_pending IS
    '待核: nobody checked out, so it was closed at the planned end and waits for a review.';

CREATE TYPE scan_outcome AS ENUM (
    'applied', 'shift_not_found', 'shift_cancelled', 'person_not_found', 'out_of_hours',
    'not_checked_in', 'already_checked_in'
);

CREATE TABLE scan (
    bank_id      integer      NOT NULL,
    scan_id      uuid         NOT NULL,
    shift_id     uuid         NOT NULL,
    person_id    uuid         NOT NULL,
    is_arrival   boolean      NOT NULL,
    scanned_at   timestamptz  NOT NULL,
    outcome      scan_outcome NOT NULL,
    uploaded_by  uuid         NOT NULL,
    uploaded_at  timestamptz  NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT scan_counted_once PRIMARY KEY (bank_id, scan_id)
);
COMMENT ON TABLE scan IS
    'A line of a scan list that a device kept while it was offline. Append-only.';

CREATE TYPE wish_status AS ENUM ('collected', 'assigned', 'done', 'confirmed');

CREATE TABLE wish (
    bank_id       integer     NOT NULL,
    wish_id       uuid        NOT NULL,
    category_id   uuid        NOT NULL,
    title         text        NOT NULL CONSTRAINT wish_title_short
                              CHECK (length(title) BETWEEN 1 AND 200),
    served_id     uuid        NOT NULL,
    branch_id     uuid,
    status        wish_status NOT NULL DEFAULT 'collected',
    collected_by  uuid        NOT NULL,
    collected_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    assigned_to   uuid        CONSTRAINT wish_is_granted_by_another
                              CHECK (assigned_to <> served_id),
    assigned_by   uuid,
    assigned_at   timestamptz,
    record_id     uuid,
    done_at       timestamptz,
    confirmed_at  timestamptz,
    PRIMARY KEY (bank_id, wish_id),
    CONSTRAINT wish_assigned_to_somebody CHECK (
        (status = 'collected') = (assigned_to IS NULL)
        AND num_nonnulls(assigned_to, assigned_by, assigned_at) IN (0, 3)),
    CONSTRAINT wish_done_has_its_record CHECK (
        (status IN ('done', 'confirmed')) = (record_id IS NOT NULL)
        AND (record_id IS NULL) = (done_at IS NULL)),
    CONSTRAINT wish_confirmed_at_its_time CHECK (
        (status = 'confirmed') = (confirmed_at IS NOT NULL))
);
CREATE TRIGGER wish_step BEFORE INSERT OR UPDATE OF status ON wish FOR EACH ROW
    EXECUTE FUNCTION check_step('>collected', 'collected>assigned', 'assigned>collected',
                                'assigned>done', 'done>assigned', 'done>confirmed');
ALTER TABLE wish ENABLE ALWAYS TRIGGER wish_step;
COMMENT ON TABLE wish IS
    '微心愿: what somebody wishes for, who grants it, and the record of the hours. The person '
    'served pays nothing: awards come from issuance.';


-- Records

CREATE TYPE record_source AS ENUM ('checked_in', 'back_filled', 'paper');

CREATE TYPE record_status AS ENUM ('draft', 'submitted', 'confirmed', 'rejected', 'reversed');

CREATE TYPE record_note AS ENUM (
    'forgot_to_check_in', 'device_failed', 'no_coordinator_there', 'organiser_statement',
    'thanks_of_the_served'
);
COMMENT ON TYPE record_note IS 'Why a record is back-filled: a code, so that it holds no name.';

CREATE TABLE service_record (
    bank_id           integer       NOT NULL,
    record_id         uuid          NOT NULL,
    person_id         uuid          NOT NULL,
    category_id       uuid          NOT NULL,
    activity_id       uuid,
    shift_id          uuid,
    wish_id           uuid,
    attendance_id     uuid,
    served_on         date          NOT NULL,
    during            tstzrange,
    minutes           bigint        NOT NULL CONSTRAINT record_minutes_positive CHECK (minutes > 0),
    next_day_minutes  bigint        NOT NULL DEFAULT 0,
    occurred_at       timestamptz   NOT NULL,
    source            record_source NOT NULL,
    evidence_sha256   bytea         CONSTRAINT record_evidence_is_sha256
                                    CHECK (length(evidence_sha256) = 32),
    note              record_note,
    sheet_number      text          CONSTRAINT record_sheet_number_short
                                    CHECK (length(sheet_number) BETWEEN 1 AND 64),
    status            record_status NOT NULL DEFAULT 'draft',
    made_by           uuid          NOT NULL
                                    CONSTRAINT record_maker_is_another CHECK (made_by <> person_id),
    made_at           timestamptz   NOT NULL DEFAULT clock_timestamp(),
    submitted_at      timestamptz,
    decided_by        uuid          CONSTRAINT record_checker_is_another
                                    CHECK (decided_by NOT IN (made_by, person_id)),
    decided_at        timestamptz,
    PRIMARY KEY (bank_id, record_id),
    CONSTRAINT record_of_activity_or_wish CHECK (
        num_nonnulls(activity_id, wish_id) = 1 AND (activity_id IS NULL) = (shift_id IS NULL)),
    CONSTRAINT record_has_evidence CHECK (CASE source
        WHEN 'checked_in' THEN attendance_id IS NOT NULL
        WHEN 'back_filled' THEN num_nonnulls(evidence_sha256, note) > 0
        WHEN 'paper' THEN sheet_number IS NOT NULL END),
    CONSTRAINT record_knows_its_time CHECK (during IS NOT NULL OR source = 'paper'),
    CONSTRAINT record_minutes_from_instants CHECK (
        lower_inc(during) AND NOT upper_inc(during) AND occurred_at = lower(during)
        AND extract(epoch FROM lower(during)) % 60 = 0
        AND extract(epoch FROM upper(during) - lower(during)) = 60 * minutes
        AND minutes <= 1380),
    CONSTRAINT record_minutes_of_next_day CHECK (next_day_minutes BETWEEN 0 AND minutes - 1),
    CONSTRAINT record_decided_by_somebody CHECK (
        (status IN ('draft', 'submitted')) = (decided_by IS NULL)
        AND (decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT record_no_overlap EXCLUDE USING gist (
        bank_id WITH =, person_id WITH =, during WITH &&) WHERE (status = 'confirmed')
);
CREATE UNIQUE INDEX record_of_attendance_once ON service_record (bank_id, attendance_id)
    WHERE status IN ('draft', 'submitted', 'confirmed');
CREATE UNIQUE INDEX record_sheet_line_once
    ON service_record (bank_id, sheet_number, person_id, occurred_at)
    WHERE status IN ('draft', 'submitted', 'confirmed');
CREATE INDEX record_of_person ON service_record (bank_id, person_id, served_on);
CREATE INDEX record_of_shift ON service_record (bank_id, shift_id);
CREATE TRIGGER record_step BEFORE INSERT OR UPDATE OF status ON service_record FOR EACH ROW
    EXECUTE FUNCTION check_step('>draft', '>submitted', 'draft>submitted', 'submitted>confirmed',
                                'submitted>rejected', 'confirmed>reversed');
ALTER TABLE service_record ENABLE ALWAYS TRIGGER record_step;
CREATE TRIGGER record_sheet_is_lawful BEFORE INSERT ON service_record FOR EACH ROW
    WHEN (NEW.sheet_number ~ '^[1-9][0-9]{8}$') EXECUTE FUNCTION check_record_sheet();
COMMENT ON TABLE service_record IS
    'Time that somebody served: written by one, confirmed by another, about a third. Only what is '
    'confirmed counts.';
COMMENT ON COLUMN service_record.during IS
    'From the minute it began to that in which it ended, so that minutes add up however time is '
    'cut. Null where a sheet of paper or a rota says the day and not the hour.';
COMMENT ON COLUMN service_record.next_day_minutes IS
    'Those of its minutes that lie after the local midnight that follows served_on.';

CREATE TABLE carry (
    bank_id      integer NOT NULL,
    person_id    uuid    NOT NULL,
    category_id  uuid    NOT NULL,
    remainder    integer NOT NULL
                         CONSTRAINT carry_below_a_point CHECK (remainder BETWEEN 0 AND 59),
    PRIMARY KEY (bank_id, person_id, category_id)
);
COMMENT ON TABLE carry IS 'Sixtieths of a point that a person has served for beyond whole points.';

CREATE TABLE service_award (
    bank_id               integer     NOT NULL,
    record_id             uuid        NOT NULL,
    hours_transfer_id     uuid        NOT NULL,
    points_transfer_id    uuid,
    minutes               bigint      NOT NULL,
    next_day_minutes      bigint      NOT NULL,
    rate_id               uuid,
    points_per_hour       integer     NOT NULL,
    next_rate_id          uuid,
    next_points_per_hour  integer     NOT NULL,
    remainder_before      integer     NOT NULL,
    points                bigint      NOT NULL,
    remainder_after       integer     NOT NULL,
    awarded_at            timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT award_once PRIMARY KEY (bank_id, record_id),
    CONSTRAINT award_points_exact CHECK (
        remainder_before + (minutes - next_day_minutes) * points_per_hour
        + next_day_minutes * next_points_per_hour = 60 * points + remainder_after),
    CONSTRAINT award_remainders_below_a_point CHECK (
        remainder_before BETWEEN 0 AND 59 AND remainder_after BETWEEN 0 AND 59),
    CONSTRAINT award_has_points_transfer_iff_points CHECK (
        (points > 0) = (points_transfer_id IS NOT NULL))
);
CREATE UNIQUE INDEX award_of_hours_transfer ON service_award (bank_id, hours_transfer_id);
CREATE UNIQUE INDEX award_of_points_transfer ON service_award (bank_id, points_transfer_id);
COMMENT ON TABLE service_award IS
    'What a confirmed record earned, with all that went into it: recomputing gives the same. '
    'Append-only.';
COMMENT ON COLUMN service_award.rate_id IS 'Null: the bank''s own rate.';
COMMENT ON COLUMN service_award.next_points_per_hour IS
    'Of the minutes after midnight, on a day that may have another rate.';

CREATE TABLE award_reversal (
    bank_id            integer         NOT NULL,
    record_id          uuid            NOT NULL,
    reversal_id        uuid            NOT NULL,
    reversed_by        uuid            NOT NULL,
    reason             reversal_reason NOT NULL,
    remainder_before   integer         NOT NULL,
    extra_points       integer         NOT NULL
                                       CONSTRAINT reversal_moves_one_point_at_most
                                       CHECK (extra_points BETWEEN -1 AND 1),
    extra_transfer_id  uuid,
    remainder_after    integer         NOT NULL,
    reversed_at        timestamptz     NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT award_reversed_once PRIMARY KEY (bank_id, record_id),
    CONSTRAINT reversal_has_extra_transfer_iff_extra_points CHECK (
        (extra_points <> 0) = (extra_transfer_id IS NOT NULL)),
    CONSTRAINT reversal_remainders_below_a_point CHECK (
        remainder_before BETWEEN 0 AND 59 AND remainder_after BETWEEN 0 AND 59)
);
COMMENT ON TABLE award_reversal IS
    'That an award was taken back, and what became of the rest. Append-only.';
COMMENT ON COLUMN award_reversal.extra_points IS
    'Taken (1) or given back (-1) beyond the award itself: the point it completed with the '
    'remainders of other records, or they with its own.';

SELECT make_append_only('service_award'), make_append_only('award_reversal'),
       make_append_only('scan');


-- Planning and attending

CREATE FUNCTION approve_rate(p_bank integer, p_rate uuid, p_approver uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    proposed rate;
BEGIN
    SELECT * INTO proposed FROM rate WHERE (bank_id, rate_id) = (p_bank, p_rate);
    PERFORM refuse('rate_exists', p_rate::text) WHERE proposed IS NULL;
    PERFORM pg_advisory_xact_lock(hashtextextended('rates ' || proposed.category_id, p_bank));
    PERFORM refuse('rate_after_confirmed_service', record_id::text)
    FROM service_record
    WHERE bank_id = p_bank AND category_id = proposed.category_id AND status = 'confirmed'
      AND served_on + (next_day_minutes > 0)::integer >= proposed.effective_on
      AND EXISTS (SELECT FROM rate WHERE (bank_id, rate_id) = (p_bank, p_rate)
                  AND approved_by IS NULL)
    LIMIT 1;
    UPDATE rate SET approved_by = p_approver, approved_at = clock_timestamp()
    WHERE (bank_id, rate_id) = (p_bank, p_rate) AND approved_by IS NULL;
END $$;
COMMENT ON FUNCTION approve_rate IS
    'Puts a proposed rate in force. It may not change what was confirmed before: awards and this '
    'exclude one another by category. Approved once, by whoever was first.';

CREATE FUNCTION find_rate(
    p_bank integer, p_category uuid, p_on date, OUT rate_id uuid, OUT points_per_hour integer
) LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT rate_id, points_per_hour
    FROM (SELECT rate_id, points_per_hour, effective_on FROM rate
          WHERE bank_id = p_bank AND category_id = p_category AND approved_by IS NOT NULL
            AND effective_on <= p_on
          UNION ALL
          SELECT NULL, points_per_hour, '-infinity' FROM bank WHERE bank_id = p_bank) AS version
    ORDER BY effective_on DESC LIMIT 1;
$$;
COMMENT ON FUNCTION find_rate IS 'The rate in force for a category on a local day.';

CREATE FUNCTION cancel_shifts(
    p_bank integer, p_activity uuid, p_shift uuid, p_actor uuid, p_reason cancel_reason
) RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_shift IS NULL THEN
        UPDATE activity SET cancelled_at = clock_timestamp(), cancelled_by = p_actor,
                            cancel_reason = p_reason
        WHERE bank_id = p_bank AND activity_id = p_activity AND cancelled_at IS NULL;
    END IF;
    RETURN QUERY
    UPDATE shift SET cancelled_at = clock_timestamp(), cancelled_by = p_actor,
                     cancel_reason = p_reason
    WHERE bank_id = p_bank AND activity_id = p_activity AND cancelled_at IS NULL
      AND (shift_id = p_shift OR p_shift IS NULL) AND starts_at > clock_timestamp()
    RETURNING shift_id;
END $$;
COMMENT ON FUNCTION cancel_shifts IS
    'Cancels one shift, or with null the activity and all its shifts that have not begun.';

CREATE FUNCTION claim_activity_to_plan(
    p_bank integer, p_before date, OUT activity_id uuid, OUT planned_until date
) LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    SELECT a.activity_id, a.planned_until FROM activity a
    WHERE a.bank_id = p_bank AND a.rule IS NOT NULL AND a.cancelled_at IS NULL
      AND a.planned_until < p_before
    ORDER BY a.planned_until, a.activity_id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED;
$$;
COMMENT ON FUNCTION claim_activity_to_plan IS
    'A recurring activity that is not planned up to that day, for the caller alone; one that '
    'another has claimed is passed over.';

CREATE FUNCTION note_planned(p_bank integer, p_activity uuid, p_until date) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    UPDATE activity SET planned_until = greatest(planned_until, p_until)
    WHERE bank_id = p_bank AND activity_id = p_activity AND rule IS NOT NULL;
$$;
COMMENT ON FUNCTION note_planned IS 'Says how far a recurring activity is planned; never less far.';

CREATE FUNCTION lock_open_shift(p_bank integer, p_shift uuid, p_at timestamptz) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM shift
    WHERE bank_id = p_bank AND shift_id = p_shift AND cancelled_at IS NULL AND ends_at > p_at
    FOR NO KEY UPDATE;
    PERFORM refuse('shift_open', p_shift::text) WHERE NOT FOUND;
END $$;
COMMENT ON FUNCTION lock_open_shift IS 'Makes the caller alone with the sign-ups of a shift.';

CREATE FUNCTION join_shift(
    p_bank integer, p_shift uuid, p_person uuid, p_team uuid, p_actor uuid, p_at timestamptz
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM lock_open_shift(p_bank, p_shift, p_at);
    INSERT INTO sign_up (bank_id, shift_id, place, person_id, team_id, signed_up_by)
    SELECT p_bank, p_shift, coalesce(max(place), 0) + 1, p_person, p_team, p_actor
    FROM sign_up WHERE bank_id = p_bank AND shift_id = p_shift
    ON CONFLICT (bank_id, shift_id, person_id) WHERE left_at IS NULL DO NOTHING;
END $$;
COMMENT ON FUNCTION join_shift IS
    'Signs up at the end of the order; who is signed up already keeps their place.';

CREATE FUNCTION leave_shift(p_bank integer, p_shift uuid, p_person uuid, p_at timestamptz)
RETURNS SETOF uuid LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    waiting uuid[];
BEGIN
    PERFORM lock_open_shift(p_bank, p_shift, p_at);
    waiting := array(SELECT person_id FROM roster
                     WHERE bank_id = p_bank AND shift_id = p_shift AND NOT has_place);
    UPDATE sign_up SET left_at = clock_timestamp()
    WHERE bank_id = p_bank AND shift_id = p_shift AND person_id = p_person AND left_at IS NULL;
    RETURN QUERY SELECT person_id FROM roster
                 WHERE bank_id = p_bank AND shift_id = p_shift AND has_place
                   AND person_id = ANY (waiting);
END $$;
COMMENT ON FUNCTION leave_shift IS 'Gives a place up; answers who got it, if anybody waited.';


-- Deciding

CREATE FUNCTION check_records(p_bank integer, p_records uuid[], p_statuses record_status[])
RETURNS void LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM service_record WHERE bank_id = p_bank AND record_id = ANY (p_records)
    ORDER BY record_id FOR NO KEY UPDATE;
    PERFORM refuse('record_exists', id::text) FROM unnest(p_records) AS id
    WHERE NOT EXISTS (SELECT FROM service_record WHERE bank_id = p_bank AND record_id = id);
    PERFORM refuse('record_step', record_id || ' ' || status) FROM service_record
    WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status <> ALL (p_statuses);
END $$;
COMMENT ON FUNCTION check_records IS 'Locks records; refuses unless all are in these statuses.';

CREATE FUNCTION submit_records(p_bank integer, p_records uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_records(p_bank, p_records, '{draft,submitted}');
    UPDATE service_record SET status = 'submitted', submitted_at = clock_timestamp()
    WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status = 'draft';
END $$;
COMMENT ON FUNCTION submit_records IS 'Hands drafts in for somebody else to decide, all or none.';

CREATE FUNCTION reject_records(p_bank integer, p_records uuid[], p_actor uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_records(p_bank, p_records, '{submitted,rejected}');
    UPDATE service_record SET status = 'rejected', decided_by = p_actor,
                              decided_at = clock_timestamp()
    WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status = 'submitted';
END $$;
COMMENT ON FUNCTION reject_records IS 'Decides that records do not count, all or none.';

CREATE FUNCTION plan_awards(p_bank integer, p_records uuid[]) RETURNS SETOF service_award
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT p_bank, record_id, NULL::uuid, NULL::uuid, minutes, next_day_minutes, rate_id,
           points_per_hour, next_rate_id, next_points_per_hour, ((upto - exact) % 60)::integer,
           upto / 60 - (upto - exact) / 60, (upto % 60)::integer, clock_timestamp()
    FROM (
        SELECT priced.*, coalesce(c.remainder, 0) + (sum(exact) OVER (
                   PARTITION BY person_id, category_id ORDER BY place))::bigint AS upto
        FROM (
            SELECT r.record_id, r.person_id, r.category_id, r.minutes, r.next_day_minutes, place,
                   now.rate_id, now.points_per_hour, later.rate_id AS next_rate_id,
                   later.points_per_hour AS next_points_per_hour,
                   (r.minutes - r.next_day_minutes) * now.points_per_hour
                   + r.next_day_minutes * later.points_per_hour AS exact
            FROM unnest(p_records) WITH ORDINALITY AS asked (id, place)
            CROSS JOIN LATERAL (SELECT * FROM service_record
                                WHERE bank_id = p_bank AND record_id = asked.id LIMIT 1) AS r
            CROSS JOIN LATERAL find_rate(p_bank, r.category_id, r.served_on) AS now
            CROSS JOIN LATERAL find_rate(
                p_bank, r.category_id, r.served_on + (r.next_day_minutes > 0)::integer) AS later
            WHERE r.status = 'submitted') AS priced
        LEFT JOIN LATERAL (SELECT remainder FROM carry
                           WHERE bank_id = p_bank AND person_id = priced.person_id
                             AND category_id = priced.category_id LIMIT 1) AS c ON true
    ) AS summed ORDER BY place;
$$;
COMMENT ON FUNCTION plan_awards IS
    'What those of the records that await a decision would earn, in this order: whole points of '
    'all that a person has served in a category, less those that were awarded before.';

CREATE FUNCTION check_caps(p_bank integer, p_records uuid[]) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM service_cap WHERE bank_id = p_bank) THEN
        RETURN;
    END IF;
    PERFORM CASE WHEN of_day > cap.minutes_per_day
                 THEN refuse('record_within_cap_of_day', format('%s min on %s', of_day, served))
                 ELSE refuse('record_within_cap_of_activity',
                             format('%s min on %s', of_activity, served)) END
    FROM (SELECT DISTINCT person_id, served_on + n AS served FROM service_record, LATERAL
          generate_series(0, (next_day_minutes > 0)::integer) AS n
          WHERE bank_id = p_bank AND record_id = ANY (p_records)) AS touched
    CROSS JOIN LATERAL (SELECT * FROM service_cap
                        WHERE bank_id = p_bank AND effective_on <= served
                        ORDER BY effective_on DESC LIMIT 1) AS cap
    CROSS JOIN LATERAL (
        SELECT sum(sum(own)) OVER () AS of_day,
               CASE WHEN activity_id IS NOT NULL THEN sum(own) END AS of_activity
        FROM (SELECT activity_id, CASE WHEN served_on = served THEN minutes - next_day_minutes
                                       ELSE next_day_minutes END AS own
              FROM service_record
              WHERE bank_id = p_bank AND person_id = touched.person_id AND status = 'confirmed'
                AND served_on IN (served - 1, served)) AS part
        GROUP BY activity_id) AS day
    WHERE of_day > cap.minutes_per_day OR of_activity > cap.minutes_per_activity;
END $$;
COMMENT ON FUNCTION check_caps IS
    'Refuses if the local days that these records touch hold more confirmed minutes than the cap '
    'in force on them. Exact, because the caller holds the wallets of the persons.';

CREATE FUNCTION list_own_accounts(p_bank integer, p_persons uuid[]) RETURNS uuid[]
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT array(SELECT account_id FROM account
                 WHERE bank_id = p_bank AND owner_id = ANY (p_persons)
                   AND kind IN ('wallet', 'debt')
                 UNION ALL
                 SELECT account_id FROM account
                 WHERE bank_id = p_bank AND owner_id IS NULL AND kind = 'issuance');
$$;
COMMENT ON FUNCTION list_own_accounts IS
    'All that awards to these persons and their reversals touch.';

CREATE FUNCTION post_awards(p_bank integer, p_records uuid[], p_actor uuid) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    decided transfer_status[];
BEGIN
    SELECT (post_transfers(p_bank, array_agg(id), array_agg('award'::transfer_kind),
                           array_agg(debit), array_agg(coalesce(credit, p_actor)),
                           array_agg(amount), array_agg(occurred_at), array_agg(p_actor),
                           array_agg(chain), array_agg(subject), array_agg(NULL::uuid),
                           array_agg(NULL::reversal_reason))).statuses
    INTO decided
    FROM (SELECT leg.id, leg.amount, r.occurred_at, coalesce(r.activity_id, r.wish_id) AS subject,
                 CASE WHEN a.points > 0 THEN a.hours_transfer_id END AS chain,
                 issuance.account_id AS debit, wallet.account_id AS credit
          FROM unnest(p_records) WITH ORDINALITY AS asked (id, place)
          CROSS JOIN LATERAL (SELECT * FROM service_award
                              WHERE bank_id = p_bank AND record_id = asked.id LIMIT 1) AS a
          CROSS JOIN LATERAL (SELECT * FROM service_record
                              WHERE bank_id = p_bank AND record_id = asked.id LIMIT 1) AS r
          CROSS JOIN LATERAL (VALUES (a.hours_transfer_id, 'hours'::unit, a.minutes),
                                     (a.points_transfer_id, 'points', a.points))
                             AS leg (id, unit, amount)
          LEFT JOIN LATERAL (SELECT account_id FROM account
                             WHERE bank_id = p_bank AND owner_id = r.person_id
                               AND kind = 'wallet' AND unit = leg.unit LIMIT 1) AS wallet ON true
          LEFT JOIN LATERAL (SELECT account_id FROM account
                             WHERE bank_id = p_bank AND owner_id IS NULL
                               AND kind = 'issuance' AND unit = leg.unit LIMIT 1) AS issuance
                            ON true
          WHERE leg.amount > 0
          ORDER BY asked.place, leg.unit) AS transfer;
    PERFORM refuse('award_posted', status::text)
    FROM unnest(decided) AS status WHERE status <> 'posted'
    ORDER BY status = 'chain_broken' LIMIT 1;
END $$;
COMMENT ON FUNCTION post_awards IS
    'Posts hours and points of each award as one chain, hours alone for no points; all or none.';

CREATE FUNCTION award_service(
    p_bank integer, p_records uuid[], p_approver uuid, p_hours_ids uuid[], p_points_ids uuid[]
) RETURNS SETOF service_award LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
DECLARE
    fresh uuid[];
BEGIN
    PERFORM pg_advisory_xact_lock_shared(hashtextextended('rates ' || category_id, p_bank))
    FROM (SELECT DISTINCT category_id FROM service_record
          WHERE bank_id = p_bank AND record_id = ANY (p_records) ORDER BY 1) AS rated;
    PERFORM check_records(p_bank, p_records, '{submitted,confirmed}');
    PERFORM FROM activity WHERE bank_id = p_bank AND activity_id IN (
        SELECT activity_id FROM service_record
        WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status = 'submitted')
    ORDER BY activity_id FOR KEY SHARE;
    PERFORM lock_balances(p_bank, list_own_accounts(p_bank, array(
        SELECT person_id FROM service_record
        WHERE bank_id = p_bank AND record_id = ANY (p_records) AND status = 'submitted')));
    fresh := array(SELECT id FROM unnest(p_records) WITH ORDINALITY AS asked (id, place)
                   JOIN service_record ON bank_id = p_bank AND record_id = id
                   WHERE status = 'submitted' ORDER BY place);
    PERFORM refuse('service_over', record_id::text) FROM service_record
    WHERE bank_id = p_bank AND record_id = ANY (fresh) AND upper(during) > clock_timestamp();
    IF cardinality(fresh) > 0 THEN
        INSERT INTO service_award
        SELECT p_bank, record_id, p_hours_ids[array_position(p_records, record_id)],
               CASE WHEN points > 0 THEN p_points_ids[array_position(p_records, record_id)] END,
               minutes, next_day_minutes, rate_id, points_per_hour, next_rate_id,
               next_points_per_hour, remainder_before, points, remainder_after, awarded_at
        FROM plan_awards(p_bank, fresh);
        UPDATE service_record SET status = 'confirmed', decided_by = p_approver,
                                  decided_at = clock_timestamp()
        WHERE bank_id = p_bank AND record_id = ANY (fresh);
        PERFORM check_caps(p_bank, fresh);
        INSERT INTO carry AS c (bank_id, person_id, category_id, remainder)
        SELECT DISTINCT ON (person_id, category_id)
               p_bank, person_id, category_id, remainder_after
        FROM unnest(fresh) WITH ORDINALITY AS done (id, place)
        JOIN service_award a ON a.bank_id = p_bank AND a.record_id = id
        JOIN service_record r ON r.bank_id = p_bank AND r.record_id = id
        ORDER BY person_id, category_id, place DESC
        ON CONFLICT (bank_id, person_id, category_id) DO UPDATE SET remainder = excluded.remainder;
        PERFORM post_awards(p_bank, fresh, p_approver);
    END IF;
    RETURN QUERY
    SELECT a.* FROM unnest(p_records) WITH ORDINALITY AS asked (id, place)
    JOIN service_award a ON a.bank_id = p_bank AND a.record_id = id ORDER BY place;
END $$;
COMMENT ON FUNCTION award_service IS
    'Confirms records and posts their hours and points, all or none, in one call. One that is '
    'confirmed already is answered as it was, whoever asks. The ids are for the new transfers.';

CREATE FUNCTION open_reversal(p_bank integer, p_record uuid)
RETURNS TABLE (status record_status, person_id uuid, occurred_at timestamptz, subject_id uuid,
               hours_transfer_id uuid, exact bigint, points bigint, remainder integer,
               wallet_id uuid, issuance_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
#variable_conflict use_column
BEGIN
    PERFORM check_records(p_bank, ARRAY[p_record], '{confirmed,reversed}');
    PERFORM lock_balances(p_bank, list_own_accounts(p_bank, array(
        SELECT person_id FROM service_record WHERE (bank_id, record_id) = (p_bank, p_record))));
    RETURN QUERY
    SELECT r.status, r.person_id, r.occurred_at, coalesce(r.activity_id, r.wish_id),
           a.hours_transfer_id,
           (a.minutes - a.next_day_minutes) * a.points_per_hour
           + a.next_day_minutes * a.next_points_per_hour, a.points, c.remainder,
           wallet.account_id, issuance.account_id
    FROM service_record r
    JOIN service_award a USING (bank_id, record_id)
    JOIN carry c USING (bank_id, person_id, category_id)
    JOIN account wallet ON (wallet.bank_id, wallet.owner_id, wallet.kind, wallet.unit)
                           = (r.bank_id, r.person_id, 'wallet', 'points')
    JOIN account issuance ON (issuance.bank_id, issuance.kind, issuance.unit)
                             = (r.bank_id, 'issuance', 'points') AND issuance.owner_id IS NULL
    WHERE (r.bank_id, r.record_id) = (p_bank, p_record);
END $$;
COMMENT ON FUNCTION open_reversal IS
    'Locks a confirmed record and all that its reversal touches, and reads what it must take back.';

CREATE FUNCTION close_reversal(
    p_bank integer, p_record uuid, p_reversal uuid, p_actor uuid, p_reason reversal_reason,
    p_extra integer, p_extra_transfer uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_records(p_bank, ARRAY[p_record], '{confirmed}');
    PERFORM refuse('reversal_posted', id::text)
    FROM service_award, LATERAL (VALUES (hours_transfer_id), (points_transfer_id)) AS leg (id)
    WHERE (bank_id, record_id) = (p_bank, p_record) AND id IS NOT NULL AND NOT EXISTS (
        SELECT FROM transfer
        WHERE bank_id = p_bank AND reverses_id = id AND status = 'posted');
    UPDATE service_record SET status = 'reversed' WHERE (bank_id, record_id) = (p_bank, p_record);
    INSERT INTO award_reversal
    SELECT p_bank, p_record, p_reversal, p_actor, p_reason, c.remainder, p_extra,
           p_extra_transfer,
           c.remainder - (a.minutes - a.next_day_minutes) * a.points_per_hour
           - a.next_day_minutes * a.next_points_per_hour + 60 * (a.points + p_extra)
    FROM service_award a
    JOIN service_record r USING (bank_id, record_id)
    JOIN carry c USING (bank_id, person_id, category_id)
    WHERE (a.bank_id, a.record_id) = (p_bank, p_record);
    UPDATE carry c SET remainder = v.remainder_after
    FROM award_reversal v JOIN service_record r USING (bank_id, record_id)
    WHERE (v.bank_id, v.record_id) = (p_bank, p_record)
      AND (c.bank_id, c.person_id, c.category_id) = (p_bank, r.person_id, r.category_id);
END $$;
COMMENT ON FUNCTION close_reversal IS
    'Marks a record reversed, once its transfers are, and gives its part of the carried remainder '
    'back. Call it in the transaction of open_reversal. The record''s time is free again.';

GRANT INSERT ON category, service_cap, activity, team, code_secret, shift, scan TO timebank_app;
GRANT INSERT (bank_id, rate_id, category_id, points_per_hour, effective_on, proposed_by)
    ON rate TO timebank_app;
GRANT INSERT, UPDATE (checked_out_at, checked_out_by, checked_out_means, is_pending)
    ON attendance TO timebank_app;
GRANT INSERT, UPDATE (status, assigned_to, assigned_by, assigned_at, record_id, done_at,
                      confirmed_at) ON wish TO timebank_app;
GRANT INSERT (bank_id, record_id, person_id, category_id, activity_id, shift_id, wish_id,
              attendance_id, served_on, during, minutes, next_day_minutes, occurred_at, source,
              evidence_sha256, note, sheet_number, status, made_by, submitted_at)
    ON service_record TO timebank_app;
GRANT EXECUTE ON FUNCTION
    approve_rate, cancel_shifts, claim_activity_to_plan, note_planned, join_shift, leave_shift,
    submit_records, reject_records,
    find_rate, plan_awards, award_service, open_reversal, close_reversal TO timebank_app;
GRANT EXECUTE ON FUNCTION find_rate TO timebank_auditor;


-- ── Honours: stars by hours and quality, honours by nomination ─────────────────────────────────

CREATE TABLE star_rule (
    bank_id       integer     NOT NULL,
    effective_on  date        NOT NULL,
    hours         integer[]   NOT NULL CONSTRAINT star_rule_has_steps
                              CHECK (cardinality(hours) BETWEEN 1 AND 10 AND 0 < ALL (hours)),
    grades        integer[]   NOT NULL CONSTRAINT star_rule_grades_sane
                              CHECK (0 <= ALL (grades) AND 500 >= ALL (grades)),
    set_by        uuid        NOT NULL,
    set_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT star_rule_one_a_day PRIMARY KEY (bank_id, effective_on),
    CONSTRAINT star_rule_grade_for_each_star CHECK (cardinality(grades) = cardinality(hours))
);
COMMENT ON TABLE star_rule IS
    'What a star takes, from a local day on: the nth needs hours[n] confirmed hours and a mean '
    'grade of grades[n]. Append-only.';
COMMENT ON COLUMN star_rule.grades IS 'In hundredths of a grade from 1 to 5; 0 asks for none.';

CREATE TABLE record_grade (
    bank_id    integer     NOT NULL,
    record_id  uuid        NOT NULL,
    person_id  uuid        NOT NULL,
    grade      integer     NOT NULL CONSTRAINT grade_from_1_to_5 CHECK (grade BETWEEN 1 AND 5),
    graded_by  uuid        NOT NULL
                           CONSTRAINT grade_is_by_another CHECK (graded_by <> person_id),
    graded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT grade_given_once PRIMARY KEY (bank_id, record_id)
);
COMMENT ON TABLE record_grade IS
    'How well a confirmed record was served; of a reversed record it no longer counts. '
    'Append-only.';
CREATE INDEX grade_of_person ON record_grade (bank_id, person_id);

CREATE TABLE honour_title (
    bank_id   integer NOT NULL,
    title_id  uuid    NOT NULL,
    code      text    NOT NULL CONSTRAINT honour_title_code_plain
                      CHECK (code ~ '^[a-z][a-z0-9-]{0,31}$'),
    name      text    NOT NULL CONSTRAINT honour_title_name_short
                      CHECK (length(name) BETWEEN 1 AND 80),
    PRIMARY KEY (bank_id, title_id),
    CONSTRAINT honour_title_code_unique UNIQUE (bank_id, code)
);
COMMENT ON TABLE honour_title IS 'A named honour (榜样, 先锋): data, not code.';

CREATE TYPE honour_status AS ENUM ('nominated', 'awarded', 'declined', 'withdrawn');

CREATE TABLE honour (
    bank_id       integer       NOT NULL,
    honour_id     uuid          NOT NULL,
    title_id      uuid          NOT NULL,
    person_id     uuid          NOT NULL,
    year          integer       NOT NULL
                                CONSTRAINT honour_year_sane CHECK (year BETWEEN 2000 AND 2999),
    status        honour_status NOT NULL DEFAULT 'nominated',
    nominated_by  uuid          NOT NULL CONSTRAINT honour_nominator_is_another
                                CHECK (nominated_by <> person_id),
    nominated_at  timestamptz   NOT NULL DEFAULT clock_timestamp(),
    decided_by    uuid          CONSTRAINT honour_decider_is_another CHECK (
                                decided_by NOT IN (nominated_by, person_id)),
    decided_at    timestamptz,
    withdrawn_by  uuid          CONSTRAINT honour_withdrawer_is_another
                                CHECK (withdrawn_by <> person_id),
    withdrawn_at  timestamptz,
    PRIMARY KEY (bank_id, honour_id),
    CONSTRAINT honour_decided_by_somebody CHECK (
        (status = 'nominated') = (decided_by IS NULL)
        AND (decided_by IS NULL) = (decided_at IS NULL)),
    CONSTRAINT honour_withdrawn_by_somebody CHECK (
        (status = 'withdrawn') = (withdrawn_by IS NOT NULL)
        AND (withdrawn_by IS NULL) = (withdrawn_at IS NULL))
);
CREATE UNIQUE INDEX honour_once_a_year ON honour (bank_id, title_id, person_id, year)
    WHERE status IN ('nominated', 'awarded');
CREATE INDEX honour_of_person ON honour (bank_id, person_id);
CREATE TRIGGER honour_step BEFORE INSERT OR UPDATE OF status ON honour FOR EACH ROW
    EXECUTE FUNCTION check_step('>nominated', 'nominated>awarded', 'nominated>declined',
                                'awarded>withdrawn');
ALTER TABLE honour ENABLE ALWAYS TRIGGER honour_step;
COMMENT ON TABLE honour IS
    'A named honour for a year: nominated by one person, decided by another, about a third; apart '
    'from stars, and no hours, points or spending change it.';

SELECT make_append_only('star_rule'), make_append_only('record_grade');

CREATE FUNCTION grade_record(p_bank integer, p_record uuid, p_actor uuid, p_grade integer)
RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_records(p_bank, ARRAY[p_record], '{confirmed}');
    INSERT INTO record_grade (bank_id, record_id, person_id, grade, graded_by)
    SELECT p_bank, p_record, person_id, p_grade, p_actor
    FROM service_record WHERE (bank_id, record_id) = (p_bank, p_record);
END $$;
COMMENT ON FUNCTION grade_record IS 'Grades a confirmed record, once and for good.';

CREATE FUNCTION decide_honour(
    p_bank integer, p_honour uuid, p_actor uuid, p_status honour_status
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_status = 'withdrawn' THEN
        UPDATE honour SET status = p_status, withdrawn_by = p_actor,
                          withdrawn_at = clock_timestamp()
        WHERE (bank_id, honour_id) = (p_bank, p_honour);
    ELSE
        UPDATE honour SET status = p_status, decided_by = p_actor, decided_at = clock_timestamp()
        WHERE (bank_id, honour_id) = (p_bank, p_honour);
    END IF;
    PERFORM refuse('honour_exists', p_honour::text) WHERE NOT FOUND;
END $$;
COMMENT ON FUNCTION decide_honour IS
    'Awards or declines what was nominated, or withdraws what was awarded.';

GRANT INSERT ON star_rule, honour_title TO timebank_app;
GRANT INSERT (bank_id, honour_id, title_id, person_id, year, nominated_by)
    ON honour TO timebank_app;
GRANT EXECUTE ON FUNCTION grade_record, decide_honour TO timebank_app;


-- ── Abuse: an activity is held while it is examined ─────────────────────────────────────────────
-- lock order   The activity, then the wallets that its service brought points to: an award has the
--              activity for key share, holding it for update.

CREATE TABLE activity_hold (
    bank_id      integer     NOT NULL,
    hold_id      uuid        NOT NULL,
    activity_id  uuid        NOT NULL,
    reason       text        NOT NULL CONSTRAINT activity_hold_reason_is_a_code
                             CHECK (reason ~ '^[a-z][a-z_]{0,63}$'),
    held_by      uuid        NOT NULL,
    held_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    proposed_by  uuid,
    proposed_at  timestamptz,
    released_by  uuid,
    released_at  timestamptz,
    PRIMARY KEY (bank_id, hold_id),
    CONSTRAINT hold_released_by_another CHECK (released_by <> proposed_by),
    CONSTRAINT hold_released_after_a_proposal CHECK (
        (proposed_by IS NULL) = (proposed_at IS NULL)
        AND (released_by IS NULL) = (released_at IS NULL)
        AND (released_by IS NULL OR proposed_by IS NOT NULL))
);
CREATE UNIQUE INDEX activity_held_once ON activity_hold (bank_id, activity_id)
    WHERE released_at IS NULL;
COMMENT ON TABLE activity_hold IS
    'While a row is not released, no record of the activity is confirmed: no points come of it; '
    'and what came of it before is blocked, by the block of the same id. One holds, two release.';

CREATE FUNCTION refuse_held() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NEW.status = 'confirmed' AND NEW.activity_id IS NOT NULL THEN
        PERFORM FROM activity WHERE (bank_id, activity_id) = (NEW.bank_id, NEW.activity_id)
        FOR KEY SHARE;
        PERFORM refuse('activity_is_not_held', activity_id::text) FROM activity_hold
        WHERE bank_id = NEW.bank_id AND activity_id = NEW.activity_id AND released_at IS NULL;
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION refuse_held IS 'Refuses to confirm a record whose activity is held.';
CREATE TRIGGER record_of_held_activity_waits BEFORE UPDATE OF status ON service_record
    FOR EACH ROW EXECUTE FUNCTION refuse_held();
ALTER TABLE service_record ENABLE ALWAYS TRIGGER record_of_held_activity_waits;

CREATE FUNCTION hold_activity(
    p_bank integer, p_hold uuid, p_activity uuid, p_actor uuid, p_reason text, OUT is_new boolean
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM activity WHERE (bank_id, activity_id) = (p_bank, p_activity) FOR UPDATE;
    PERFORM refuse('activity_exists', p_activity::text) WHERE NOT FOUND;
    INSERT INTO activity_hold (bank_id, hold_id, activity_id, reason, held_by)
    VALUES (p_bank, p_hold, p_activity, p_reason, p_actor)
    ON CONFLICT (bank_id, activity_id) WHERE released_at IS NULL DO NOTHING;
    is_new := FOUND;
END $$;
COMMENT ON FUNCTION hold_activity IS
    'Holds an activity; one that is held stays so, for its first reason. Awards under way in it '
    'end first. Whoever calls it places the block of a new one, of the same id.';

CREATE FUNCTION release_activity(p_bank integer, p_activity uuid, p_actor uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    held activity_hold;
BEGIN
    PERFORM refuse('hold_released_by_another', p_actor::text)
    FROM activity WHERE (bank_id, activity_id, made_by) = (p_bank, p_activity, p_actor);
    PERFORM refuse('hold_released_by_another', record_id::text)
    FROM service_record JOIN shift USING (bank_id, shift_id)
    WHERE bank_id = p_bank AND shift.activity_id = p_activity
      AND p_actor IN (person_id, made_by, decided_by)
    LIMIT 1;
    PERFORM refuse('hold_released_by_another', attendance_id::text)
    FROM attendance JOIN shift USING (bank_id, shift_id)
    WHERE bank_id = p_bank AND activity_id = p_activity
      AND p_actor IN (person_id, checked_in_by, checked_out_by)
    LIMIT 1;
    UPDATE activity_hold
    SET proposed_by = coalesce(proposed_by, p_actor),
        proposed_at = coalesce(proposed_at, clock_timestamp()),
        released_by = CASE WHEN proposed_by IS NOT NULL THEN p_actor END,
        released_at = CASE WHEN proposed_by IS NOT NULL THEN clock_timestamp() END
    WHERE bank_id = p_bank AND activity_id = p_activity AND released_at IS NULL
    RETURNING * INTO held;
    PERFORM refuse('hold_is_open', p_activity::text) WHERE NOT FOUND;
    IF held.released_at IS NOT NULL THEN
        PERFORM lift_block(p_bank, held.hold_id);
    END IF;
END $$;
COMMENT ON FUNCTION release_activity IS
    'Proposes the release, or as a second person releases; neither made the activity, wrote or '
    'decided a record of it or has one, was there, or let somebody in or out.';

GRANT EXECUTE ON FUNCTION hold_activity, release_activity TO timebank_app;


-- ── Certificates ────────────────────────────────────────────────────────────────────────────────
-- The name and the document are not here: they are read from the vault at issue, printed, and
-- kept as a salted hash whose salt only the printed certificate has.
-- lock order   Records by record_id (for share), then certificates.

CREATE TYPE signing_purpose AS ENUM ('certificate', 'slip');

CREATE TABLE signing_key (
    bank_id     integer         NOT NULL,
    key_id      text            NOT NULL
                                CONSTRAINT signing_key_id_plain CHECK (key_id ~ '^[0-9a-f]{16}$'),
    purpose     signing_purpose NOT NULL,
    public_key  bytea           NOT NULL
                                CONSTRAINT public_key_is_ed25519 CHECK (length(public_key) = 32),
    made_by     uuid            NOT NULL,
    made_at     timestamptz     NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, key_id)
);
COMMENT ON TABLE signing_key IS
    'What a bank''s certificates, and slips, are verified with; of each purpose the latest signs '
    'what is new. Append-only.';
COMMENT ON COLUMN signing_key.purpose IS
    'The one thing it signs: who has the key of tills'' slips certifies nothing.';

CREATE TABLE signing_secret (
    bank_id  integer NOT NULL,
    key_id   text    NOT NULL,
    sealed   bytea   NOT NULL,
    PRIMARY KEY (bank_id, key_id)
);
COMMENT ON TABLE signing_secret IS 'The private half of a signing key, sealed by the service.';
SELECT make_sealed('signing_secret', 'sealed',
                   $$'timebank signing key|' || bank_id || '|' || key_id$$);

CREATE TYPE certificate_status AS ENUM ('valid', 'revoked', 'superseded');
CREATE TYPE revocation_reason AS ENUM ('wrong_data', 'lost', 'fraud', 'asked_for');
COMMENT ON TYPE revocation_reason IS
    'What is printed is wrong; the print was lost or its answer never came; service that was not '
    'given; the volunteer wants it gone.';

CREATE TABLE certificate (
    bank_id         integer            NOT NULL,
    certificate_id  uuid               NOT NULL,
    code            text               NOT NULL CONSTRAINT certificate_code_is_random
                                       CHECK (code ~ '^[0-9A-HJKMNP-TV-Z]{16}$'),
    person_id       uuid               NOT NULL,
    from_on         date               NOT NULL,
    until_on        date               NOT NULL,
    minutes         bigint             NOT NULL
                                       CONSTRAINT certificate_of_some_service CHECK (minutes > 0),
    statement       text               NOT NULL,
    key_id          text               NOT NULL,
    signature       bytea              NOT NULL CONSTRAINT certificate_is_signed
                                       CHECK (length(signature) = 64),
    issued_by       uuid               NOT NULL CONSTRAINT certificate_issuer_is_another
                                       CHECK (issued_by <> person_id),
    issued_at       timestamptz        NOT NULL DEFAULT clock_timestamp(),
    status          certificate_status NOT NULL DEFAULT 'valid',
    ended_by        uuid,
    ended_at        timestamptz,
    revoked_for     revocation_reason,
    PRIMARY KEY (bank_id, certificate_id),
    CONSTRAINT certificate_revoked_for_a_reason
        CHECK ((status = 'revoked') = (revoked_for IS NOT NULL)),
    CONSTRAINT certificate_code_unique UNIQUE (bank_id, code),
    CONSTRAINT certificate_period_runs_forward CHECK (from_on <= until_on),
    CONSTRAINT certificate_ended_at_its_time CHECK ((status = 'valid') = (ended_at IS NULL))
);
CREATE INDEX certificate_of_person ON certificate (bank_id, person_id);
CREATE TRIGGER certificate_step BEFORE INSERT OR UPDATE OF status ON certificate FOR EACH ROW
    EXECUTE FUNCTION check_step('>valid', 'valid>revoked', 'valid>superseded');
ALTER TABLE certificate ENABLE ALWAYS TRIGGER certificate_step;
COMMENT ON TABLE certificate IS
    '志愿服务记录证明: what was certified, as it was signed. Its number is the code of the bank '
    'and 80 random bits: nobody guesses one.';
COMMENT ON COLUMN certificate.statement IS 'The canonical JSON that the signature is over.';

CREATE TABLE certificate_line (
    bank_id         integer NOT NULL,
    certificate_id  uuid    NOT NULL,
    record_id       uuid    NOT NULL,
    minutes         bigint  NOT NULL,
    PRIMARY KEY (bank_id, certificate_id, record_id)
);
CREATE INDEX certificate_line_of_record ON certificate_line (bank_id, record_id);
COMMENT ON TABLE certificate_line IS 'The records that a certificate adds up. Append-only.';

SELECT make_append_only('signing_key'), make_append_only('certificate_line');

CREATE FUNCTION open_certificate(p_bank integer, p_person uuid, p_from date, p_until date)
RETURNS TABLE (record_id uuid, served_on date, minutes bigint, content text)
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    SELECT r.record_id, r.served_on, r.minutes, coalesce(a.title, c.name)
    FROM service_record r
    JOIN category c USING (bank_id, category_id)
    LEFT JOIN activity a ON a.bank_id = r.bank_id AND a.activity_id = r.activity_id
    WHERE r.bank_id = p_bank AND r.person_id = p_person AND r.status = 'confirmed'
      AND r.served_on BETWEEN p_from AND p_until
    ORDER BY r.record_id FOR SHARE OF r;
$$;
COMMENT ON FUNCTION open_certificate IS
    'What a certificate would add up; none of it is reversed before the commit.';

CREATE FUNCTION close_certificate(
    p_bank integer, p_certificate uuid, p_code text, p_person uuid, p_from date, p_until date,
    p_records uuid[], p_statement text, p_key text, p_signature bytea, p_actor uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    total bigint;
    counted integer;
BEGIN
    PERFORM FROM service_record WHERE bank_id = p_bank AND record_id = ANY (p_records)
    ORDER BY record_id FOR SHARE;
    SELECT sum(minutes), count(*) INTO total, counted FROM service_record
    WHERE bank_id = p_bank AND record_id = ANY (p_records) AND person_id = p_person
      AND status = 'confirmed' AND served_on BETWEEN p_from AND p_until;
    PERFORM refuse('certificate_of_confirmed_records', p_person::text)
    WHERE counted = 0 OR counted <> cardinality(p_records)
       OR total IS DISTINCT FROM (p_statement::jsonb ->> 'minutes')::bigint;
    INSERT INTO certificate (bank_id, certificate_id, code, person_id, from_on, until_on, minutes,
                             statement, key_id, signature, issued_by)
    VALUES (p_bank, p_certificate, p_code, p_person, p_from, p_until, total,
            p_statement, p_key, p_signature, p_actor);
    INSERT INTO certificate_line (bank_id, certificate_id, record_id, minutes)
    SELECT p_bank, p_certificate, record_id, minutes FROM service_record
    WHERE bank_id = p_bank AND record_id = ANY (p_records);
END $$;
COMMENT ON FUNCTION close_certificate IS
    'Writes a certificate of confirmed records of one person; its total is theirs and that of '
    'the signed statement.';

CREATE FUNCTION revoke_certificate(
    p_bank integer, p_certificate uuid, p_actor uuid, p_reason revocation_reason
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM certificate WHERE (bank_id, certificate_id) = (p_bank, p_certificate)
    FOR NO KEY UPDATE;
    PERFORM refuse('certificate_exists', p_certificate::text) WHERE NOT FOUND;
    UPDATE certificate SET status = 'revoked', ended_by = p_actor, ended_at = clock_timestamp(),
                           revoked_for = p_reason
    WHERE (bank_id, certificate_id) = (p_bank, p_certificate) AND status <> 'revoked';
END $$;
COMMENT ON FUNCTION revoke_certificate IS
    'Ends a certificate for good; again is harmless, and the first reason stands.';

CREATE FUNCTION supersede_certificates() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NEW.status = 'reversed' THEN
        UPDATE certificate c SET status = 'superseded', ended_at = clock_timestamp()
        FROM certificate_line l
        WHERE (l.bank_id, l.record_id) = (NEW.bank_id, NEW.record_id) AND c.bank_id = l.bank_id
          AND c.certificate_id = l.certificate_id AND c.status = 'valid';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION supersede_certificates IS
    'A certificate with a reversed record is no longer valid, whoever reversed it.';
CREATE TRIGGER record_reversed_ends_certificates AFTER UPDATE OF status ON service_record
    FOR EACH ROW EXECUTE FUNCTION supersede_certificates();
ALTER TABLE service_record ENABLE ALWAYS TRIGGER record_reversed_ends_certificates;

GRANT INSERT ON signing_key, signing_secret TO timebank_app;
GRANT EXECUTE ON FUNCTION open_certificate, close_certificate, revoke_certificate TO timebank_app;


-- ── Redemption ──────────────────────────────────────────────────────────────────────────────────
--
-- A hold moves points from a wallet or pool to the held account of the same owner; a capture moves
-- them on to the merchant and the rest back; release and expiry move all of them back; a refund
-- moves them from the merchant to where they were held from. Every transfer of a hold carries the
-- hold's id as its subject. Stock and caps move in the same commit.
--
--   quantity     Units of an offer; of an open amount the points themselves, at a unit_price of 1.
--   hold         placed_at <= t < expires_at: half-open, by the database's clock.
--   a day        The bank's local day. Caps count a hold on the day it was placed; what was not
--                captured is given back to that day; a refund gives nothing back.
--   lock order   0 at a new hold of a minor's points the resident's row (lock_resident)
--                1 the hold's row (the sweeper passes over what others have)  2 code_attempts
--                3 the payment code  4 the override  5 stock by offer_id  6 cap_use by its key
--                7 balances by account_id, all at once  8 new rows. Each act is one function and
--                takes what it needs of these in this order; one act is one transaction,
--                but for a charge: lock_charge takes first what its hold and its capture need.
--   plans        Acts turn sequential scans off: a session may have planned them when the tables
--                were empty, and then would read all of what has grown since.
--   repeats      An act's id is its caller's. The same content is answered as it was, refusals
--                too; other content is an id_conflict. A unique violation or a serialization
--                failure means that somebody came between: call again.

CREATE FUNCTION nil_id() RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT uuid '00000000-0000-0000-0000-000000000000';
$$;
COMMENT ON FUNCTION nil_id IS 'Stands in a key where it is of all, or of none.';

CREATE TYPE hold_state AS ENUM ('open', 'captured', 'released', 'expired');

CREATE TYPE act_kind AS ENUM (
    'hold', 'capture', 'release', 'expire', 'refund', 'restock', 'gift', 'reissue', 'allocate'
);

CREATE TYPE channel AS ENUM (
    'session',  -- the resident, logged in; a pick-up code is shown when the goods are fetched
    'code',     -- at the counter, by a payment code
    'card',     -- at the counter, by the printed card and its PIN
    'slip'      -- beforehand, logged in or by a sheet: a signed slip is shown at a till offline
);
COMMENT ON TYPE channel IS 'How the resident agreed to a hold.';

CREATE TYPE cap_scope AS ENUM (
    'person_day',        -- points a resident holds in a day
    'card_day',          -- of these, by the printed card
    'merchant_day',      -- points held at a merchant in a day
    'clerk_day',         -- points that one actor captures in a day
    'offer_person_day',  -- units of an offer for a resident in a day
    'offer_person',      -- units of an offer for a resident in all
    'gift_day',          -- points a resident gives in a day
    'reissue_day',       -- points a merchant gives on in a day
    'slip',              -- points of one slip
    'slips_open'         -- slips of a resident that stand open at once
);

CREATE TYPE redemption_status AS ENUM (
    'done',                    -- it took effect; with every other status it had none
    'id_conflict',             -- the id is taken by other content; answered, never stored
    'hold_not_found',          -- or it is another merchant's
    'too_many_wrong_codes',    -- too many wrong codes of this clerk or merchant of late
    'code_not_valid',          -- unknown, used, expired, or for something else
    'hold_already_captured',
    'hold_released',
    'hold_expired',
    'hold_not_captured',       -- a refund came before the capture
    'merchant_not_active',     -- no agreement is in force
    'offer_not_valid',         -- unknown, another merchant's, withdrawn, or out of its time
    'place_not_valid',         -- not a shop of this merchant, or not one of the offer's
    'amount_out_of_range',
    'account_not_found',       -- not a wallet or pool of points
    'capture_exceeds_hold',
    'refund_exceeds_captured',
    'return_exceeds_captured',
    'override_not_valid',
    'out_of_stock',
    'cap_exceeded',            -- cap says which
    'insufficient_points',
    'points_blocked',          -- enough stand there, but service that brought them is examined
    'merchant_lacks_points',   -- the merchant was settled with or gave them on
    'slip_outstanding'         -- a till offline may have taken the slip: it is never released
);

CREATE TYPE act_reason AS ENUM (
    'changed_mind', 'goods_returned', 'goods_faulty', 'not_handed_over', 'charged_wrongly',
    'opening', 'delivery', 'loss', 'recount'
);
COMMENT ON TYPE act_reason IS 'Why there was a release, a refund or a restock: a code, no text.';

CREATE TYPE override_reason AS ENUM ('hardship', 'bulk_for_household', 'event', 'correction');

CREATE TABLE merchant (
    bank_id      integer     NOT NULL,
    merchant_id  uuid        NOT NULL,
    name         text        NOT NULL
                             CONSTRAINT merchant_name_short CHECK (length(name) BETWEEN 1 AND 80),
    enrolled_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, merchant_id)
);
COMMENT ON TABLE merchant IS 'Who takes points for goods; active while an agreement is in force.';

CREATE TABLE agreement (
    bank_id      integer     NOT NULL,
    merchant_id  uuid        NOT NULL,
    reference    text        NOT NULL CONSTRAINT agreement_reference_short
                             CHECK (length(reference) BETWEEN 1 AND 80),
    valid_from   timestamptz NOT NULL,
    valid_until  timestamptz NOT NULL,
    recorded_by  uuid        NOT NULL,
    recorded_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    CONSTRAINT agreement_recorded_once PRIMARY KEY (bank_id, merchant_id, reference),
    CONSTRAINT agreement_ends_after_it_begins CHECK (valid_from < valid_until)
);
COMMENT ON TABLE agreement IS
    'What binds a merchant to take points. A hold does not outlive the agreement it was placed in.';
COMMENT ON COLUMN agreement.valid_until IS 'Half-open; infinity if it has no end.';
COMMENT ON COLUMN agreement.ended_at IS 'When it was ended before its time.';

CREATE TABLE shop (
    bank_id      integer     NOT NULL,
    shop_id      uuid        NOT NULL,
    merchant_id  uuid        NOT NULL,
    name         text        NOT NULL
                             CONSTRAINT shop_name_short CHECK (length(name) BETWEEN 1 AND 80),
    branch_id    uuid,
    opened_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at    timestamptz,
    PRIMARY KEY (bank_id, shop_id)
);
CREATE INDEX shop_of_merchant ON shop (bank_id, merchant_id);
COMMENT ON TABLE shop IS 'A place where a merchant hands goods over.';
COMMENT ON COLUMN shop.branch_id IS 'The service point it stands at; null for own premises.';

CREATE TABLE offer (
    bank_id         integer     NOT NULL,
    offer_id        uuid        NOT NULL,
    merchant_id     uuid        NOT NULL,
    title           text        NOT NULL
                                CONSTRAINT offer_title_short CHECK (length(title) BETWEEN 1 AND 80),
    price           bigint      NOT NULL CONSTRAINT offer_price_positive
                                CHECK (price BETWEEN 1 AND (1::bigint << 53) - 1),
    is_stocked      boolean     NOT NULL,
    per_person_day  bigint      CONSTRAINT offer_day_cap_positive CHECK (per_person_day > 0),
    per_person      bigint      CONSTRAINT offer_cap_positive CHECK (per_person > 0),
    valid_from      timestamptz NOT NULL,
    valid_until     timestamptz NOT NULL,
    listed_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    withdrawn_at    timestamptz,
    PRIMARY KEY (bank_id, offer_id),
    CONSTRAINT offer_ends_after_it_begins CHECK (valid_from < valid_until)
);
CREATE INDEX offer_of_merchant ON offer (bank_id, merchant_id, offer_id);
COMMENT ON TABLE offer IS
    'A thing and its price in points. It never changes but to be withdrawn: a new price is a new '
    'offer, so that what was promised stands.';
COMMENT ON COLUMN offer.is_stocked IS 'Whether stock is counted; if not, there is no end of it.';

CREATE TABLE offer_place (
    bank_id   integer NOT NULL,
    offer_id  uuid    NOT NULL,
    shop_id   uuid    NOT NULL,
    PRIMARY KEY (bank_id, offer_id, shop_id)
);
COMMENT ON TABLE offer_place IS 'Where an offer is picked up; without a row, at any shop.';

CREATE TABLE stock (
    bank_id    integer NOT NULL,
    offer_id   uuid    NOT NULL,
    available  bigint  NOT NULL DEFAULT 0
                       CONSTRAINT stock_not_negative CHECK (available >= 0),
    PRIMARY KEY (bank_id, offer_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE stock IS 'Units that are neither held nor handed over; rebuilt by the audit.';

CREATE TABLE cap_rule (
    bank_id        integer     NOT NULL,
    scope          cap_scope   NOT NULL CONSTRAINT cap_rule_not_of_an_offer
                               CHECK (scope NOT IN ('offer_person_day', 'offer_person')),
    subject_id     uuid        NOT NULL DEFAULT nil_id(),
    in_force_from  timestamptz NOT NULL DEFAULT clock_timestamp(),
    points         bigint      CONSTRAINT cap_rule_not_negative CHECK (points >= 0),
    set_by         uuid        NOT NULL,
    CONSTRAINT cap_rule_set_once PRIMARY KEY (bank_id, scope, subject_id, in_force_from)
);
COMMENT ON TABLE cap_rule IS
    'Caps of a bank, versioned: the latest that is in force counts, one for a subject before the '
    'one for all. Caps of an offer stand in the offer. Append-only.';
COMMENT ON COLUMN cap_rule.subject_id IS 'A person, merchant or clerk; the nil id is all of them.';
COMMENT ON COLUMN cap_rule.points IS 'Null is no cap.';

CREATE TABLE cap_use (
    bank_id     integer   NOT NULL,
    scope       cap_scope NOT NULL,
    subject_id  uuid      NOT NULL,
    offer_id    uuid      NOT NULL,
    used_on     date      NOT NULL,
    used        bigint    NOT NULL DEFAULT 0 CONSTRAINT cap_use_not_negative CHECK (used >= 0),
    PRIMARY KEY (bank_id, scope, subject_id, offer_id, used_on)
) WITH (fillfactor = 50);
COMMENT ON TABLE cap_use IS
    'What was used of each cap, rebuilt by the audit; who counts in it has locked it.';
COMMENT ON COLUMN cap_use.offer_id IS 'The nil id where the cap is not of an offer.';
COMMENT ON COLUMN cap_use.used_on IS 'The bank''s local day; -infinity for a cap in all.';

CREATE TABLE cap_override (
    bank_id      integer         NOT NULL,
    override_id  uuid            NOT NULL,
    scope        cap_scope       NOT NULL,
    subject_id   uuid            NOT NULL,
    offer_id     uuid            NOT NULL DEFAULT nil_id(),
    amount       bigint          NOT NULL CONSTRAINT override_amount_positive CHECK (amount > 0),
    reason       override_reason NOT NULL,
    granted_at   timestamptz     NOT NULL DEFAULT clock_timestamp(),
    expires_at   timestamptz     NOT NULL,
    used_by      uuid,
    CONSTRAINT override_granted_once PRIMARY KEY (bank_id, override_id)
);
COMMENT ON TABLE cap_override IS 'Lets one act pass one cap: four eyes agreed, for a reason.';
COMMENT ON COLUMN cap_override.override_id IS 'The approval: by two persons, neither its subject.';
COMMENT ON COLUMN cap_override.amount IS 'The most that the act may add, as its cap counts.';
COMMENT ON COLUMN cap_override.used_by IS 'The act that passed.';

CREATE TABLE hold (
    bank_id              integer     NOT NULL,
    hold_id              uuid        NOT NULL,
    resident_id          uuid        NOT NULL,
    source_account_id    uuid        NOT NULL,
    held_account_id      uuid        NOT NULL,
    merchant_account_id  uuid        NOT NULL,
    merchant_id          uuid        NOT NULL,
    offer_id             uuid,
    shop_id              uuid,
    channel              channel     NOT NULL,
    quantity             bigint      NOT NULL
                                     CONSTRAINT hold_quantity_positive CHECK (quantity > 0),
    unit_price           bigint      NOT NULL
                                     CONSTRAINT hold_price_positive CHECK (unit_price > 0),
    placed_at            timestamptz NOT NULL,
    placed_on            date        NOT NULL,
    expires_at           timestamptz NOT NULL,
    state                hold_state  NOT NULL DEFAULT 'open',
    captured             bigint      NOT NULL DEFAULT 0,
    captured_by          uuid,
    refunded             bigint      NOT NULL DEFAULT 0,
    returned             bigint      NOT NULL DEFAULT 0,
    ended_at             timestamptz,
    PRIMARY KEY (bank_id, hold_id),
    CONSTRAINT hold_expires_after_it_was_placed CHECK (placed_at < expires_at),
    CONSTRAINT hold_captured_within_what_was_held CHECK (captured BETWEEN 0 AND quantity),
    CONSTRAINT hold_captured_iff_captured CHECK ((state = 'captured') = (captured > 0)),
    CONSTRAINT hold_ended_iff_not_open CHECK ((state = 'open') = (ended_at IS NULL)),
    CONSTRAINT hold_refunded_within_what_was_captured
        CHECK (refunded BETWEEN 0 AND captured * unit_price),
    CONSTRAINT hold_returned_within_what_was_captured CHECK (returned BETWEEN 0 AND captured)
) WITH (fillfactor = 70);
COMMENT ON TABLE hold IS 'A redemption and how far it came; rebuilt from its acts by the audit.';
COMMENT ON COLUMN hold.resident_id IS 'Whose redemption it is, also when a pool pays.';
COMMENT ON COLUMN hold.offer_id IS 'Null for an open amount.';
COMMENT ON COLUMN hold.shop_id IS 'Where it is picked up, if that matters.';
COMMENT ON COLUMN hold.captured IS 'Quantity that was captured; the rest went back at once.';
COMMENT ON COLUMN hold.refunded IS 'Points given back after the capture.';
COMMENT ON COLUMN hold.returned IS 'Quantity of goods that came back with refunds.';

CREATE INDEX hold_due ON hold (bank_id, expires_at) WHERE state = 'open';
CREATE INDEX hold_of_resident ON hold (bank_id, resident_id, hold_id);
CREATE INDEX hold_of_merchant ON hold (bank_id, merchant_id, hold_id);

CREATE TABLE redemption_act (
    bank_id      integer           NOT NULL,
    act_id       uuid              NOT NULL,
    kind         act_kind          NOT NULL,
    status       redemption_status NOT NULL,
    cap          cap_scope,
    hold_id      uuid,
    merchant_id  uuid,
    offer_id     uuid,
    quantity     bigint,
    points       bigint,
    actor_id     uuid              NOT NULL,
    reason       act_reason,
    override_id  uuid,
    expires_at   timestamptz,
    fingerprint  bytea             NOT NULL,
    recorded_at  timestamptz       NOT NULL,
    CONSTRAINT act_decided_once PRIMARY KEY (bank_id, act_id),
    CONSTRAINT act_conflict_not_stored CHECK (status <> 'id_conflict'),
    CONSTRAINT act_names_the_cap_that_stopped_it CHECK (
        (status = 'cap_exceeded') = (cap IS NOT NULL))
);
CREATE INDEX redemption_act_of_hold ON redemption_act (bank_id, hold_id);
COMMENT ON TABLE redemption_act IS
    'Every act on a hold or a stock ever decided, done or refused, so an id is answered for ever. '
    'Append-only.';
COMMENT ON COLUMN redemption_act.act_id IS
    'The caller''s; of a hold it is the hold_id. The transfer that moves the points has it too.';
COMMENT ON COLUMN redemption_act.quantity IS
    'Units held, captured, given back or restocked (negative: taken out), or points if open.';
COMMENT ON COLUMN redemption_act.points IS 'What it moved, or was asked to move.';
COMMENT ON COLUMN redemption_act.fingerprint IS
    'SHA-256 of all that was asked; of a code by hash_code, so that nobody tries it out.';

CREATE TABLE code_key (
    bank_id  integer PRIMARY KEY,
    key      bytea   NOT NULL DEFAULT uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())
);
COMMENT ON TABLE code_key IS
    'A secret of each bank that no login reads: six digits would be guessed from a plain hash.';

CREATE TABLE payment_code (
    bank_id            integer     NOT NULL,
    resident_id        uuid        NOT NULL,
    source_account_id  uuid        NOT NULL,
    digits_hash        bytea       NOT NULL,
    token_hash         bytea       NOT NULL,
    expires_at         timestamptz NOT NULL,
    used_at            timestamptz,
    PRIMARY KEY (bank_id, resident_id),
    CONSTRAINT payment_digits_unique UNIQUE (bank_id, digits_hash),
    CONSTRAINT payment_token_unique UNIQUE (bank_id, token_hash)
);
COMMENT ON TABLE payment_code IS 'The latest code of each resident; a new one ends the one before.';

CREATE TABLE pickup_code (
    bank_id      integer NOT NULL,
    hold_id      uuid    NOT NULL,
    merchant_id  uuid    NOT NULL,
    digits_hash  bytea   NOT NULL,
    token_hash   bytea   NOT NULL,
    PRIMARY KEY (bank_id, hold_id),
    CONSTRAINT pickup_digits_unique UNIQUE (bank_id, merchant_id, digits_hash),
    CONSTRAINT pickup_token_unique UNIQUE (bank_id, merchant_id, token_hash)
);
COMMENT ON TABLE pickup_code IS 'What opens a hold at its merchant, and nowhere else.';

CREATE TABLE code_attempts (
    bank_id     integer     NOT NULL,
    subject_id  uuid        NOT NULL,
    since       timestamptz NOT NULL DEFAULT '-infinity',
    failures    integer     NOT NULL DEFAULT 0,
    PRIMARY KEY (bank_id, subject_id)
);
COMMENT ON TABLE code_attempts IS
    'Wrong codes of a clerk or merchant in a stretch of 15 minutes; they take turns by its lock.';

SELECT make_append_only('redemption_act'), make_append_only('cap_rule');
CREATE TRIGGER redemption_act_is_written_by_functions BEFORE INSERT
    ON redemption_act FOR EACH STATEMENT EXECUTE FUNCTION refuse_insert_by_hand();
ALTER TABLE redemption_act ENABLE ALWAYS TRIGGER redemption_act_is_written_by_functions;


-- Acts

CREATE FUNCTION find_act(p_bank integer, p_act uuid, p_fingerprint bytea) RETURNS redemption_act
LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    known redemption_act;
BEGIN
    SELECT * INTO known FROM redemption_act WHERE (bank_id, act_id) = (p_bank, p_act);
    IF known.fingerprint = p_fingerprint THEN
        RETURN known;
    ELSIF FOUND OR EXISTS (SELECT FROM transfer WHERE (bank_id, transfer_id) = (p_bank, p_act)) THEN
        known := NULL;
        known.act_id := p_act;
        known.status := 'id_conflict';
        RETURN known;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION find_act IS
    'What was answered to this id before, a conflict if it was asked something else, or null.';

CREATE FUNCTION record_act(p_act redemption_act) RETURNS redemption_act
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO redemption_act SELECT p_act.*;
    IF p_act.status = 'done' THEN
        PERFORM note_act(p_act);
    END IF;
    RETURN p_act;
END $$;
COMMENT ON FUNCTION record_act IS
    'Writes what was decided, with the event for the merchant''s webhooks, and returns it.';

CREATE FUNCTION fingerprint_of(p_asked text) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT sha256(convert_to(p_asked, 'UTF8'));
$$;
COMMENT ON FUNCTION fingerprint_of IS 'SHA-256 of a row of all that was asked, as text.';

CREATE FUNCTION local_day(p_bank integer, p_at timestamptz) RETURNS date
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT (p_at AT TIME ZONE time_zone)::date FROM bank WHERE bank_id = p_bank;
$$;
COMMENT ON FUNCTION local_day IS 'The day of an instant where the bank is.';

CREATE FUNCTION post_redemption(
    p_bank integer, p_hold uuid, p_actor uuid, p_ids uuid[], p_kinds transfer_kind[],
    p_debits uuid[], p_credits uuid[], p_amounts bigint[]
) RETURNS void LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    size     integer[] := ARRAY[cardinality(p_ids)];
    decided  transfer_status[];
BEGIN
    SELECT statuses INTO decided FROM post_transfers(
        p_bank, p_ids, p_kinds, p_debits, p_credits, p_amounts,
        array_fill(NULL::timestamptz, size), array_fill(p_actor, size),
        array_fill(CASE WHEN cardinality(p_ids) > 1 THEN p_ids[1] END, size),
        array_fill(p_hold, size), array_fill(NULL::uuid, size),
        array_fill(NULL::reversal_reason, size));
    IF 'posted' <> ANY (decided) THEN
        RAISE EXCEPTION 'hold %: the ledger answered %', p_hold, decided;
    END IF;
END $$;
COMMENT ON FUNCTION post_redemption IS
    'Posts the transfers of an act as one chain. All was decided under locks before, so a refusal '
    'is a fault of ours and undoes the act.';


-- Caps

CREATE TYPE cap_key AS (
    scope       cap_scope,
    subject_id  uuid,
    offer_id    uuid,
    used_on     date,
    amount      bigint
);
COMMENT ON TYPE cap_key IS 'A row of cap_use and what an act adds to it.';

CREATE FUNCTION caps_of_hold(p_hold hold, p_quantity bigint) RETURNS cap_key[]
LANGUAGE sql IMMUTABLE SET search_path = timebank, pg_temp AS $$
    SELECT array_agg(ROW(scope, subject_id, offer_id, used_on, amount)::cap_key)
    FROM (VALUES
        ('person_day'::cap_scope, p_hold.resident_id, nil_id(), p_hold.placed_on,
         p_quantity * p_hold.unit_price, true),
        ('card_day', p_hold.resident_id, nil_id(), p_hold.placed_on,
         p_quantity * p_hold.unit_price, p_hold.channel = 'card'),
        ('merchant_day', p_hold.merchant_id, nil_id(), p_hold.placed_on,
         p_quantity * p_hold.unit_price, true),
        ('offer_person_day', p_hold.resident_id, p_hold.offer_id, p_hold.placed_on, p_quantity,
         p_hold.offer_id IS NOT NULL),
        ('offer_person', p_hold.resident_id, p_hold.offer_id, '-infinity', p_quantity,
         p_hold.offer_id IS NOT NULL),
        ('slips_open', p_hold.resident_id, nil_id(), '-infinity', 0, p_hold.channel = 'slip')
    ) AS key (scope, subject_id, offer_id, used_on, amount, counts)
    WHERE counts AND subject_id IS NOT NULL;
$$;
COMMENT ON FUNCTION caps_of_hold IS
    'The caps a hold counts in, and by how much for a quantity. A row of slips_open counts '
    'nothing: new slips of a resident take turns by its lock.';

CREATE FUNCTION find_cap(
    p_bank integer, p_scope cap_scope, p_subject uuid, p_offer uuid, p_at timestamptz
) RETURNS bigint LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    cap bigint;
BEGIN
    IF p_scope IN ('offer_person_day', 'offer_person') THEN
        RETURN (SELECT CASE p_scope WHEN 'offer_person' THEN per_person ELSE per_person_day END
                FROM offer WHERE (bank_id, offer_id) = (p_bank, p_offer));
    END IF;
    SELECT points INTO cap FROM cap_rule
    WHERE bank_id = p_bank AND scope = p_scope AND in_force_from <= p_at
      AND subject_id IN (p_subject, nil_id())
    ORDER BY subject_id = p_subject DESC, in_force_from DESC LIMIT 1;
    RETURN CASE WHEN FOUND THEN cap
                WHEN p_scope IN ('card_day', 'gift_day', 'reissue_day', 'slip') THEN 0
                WHEN p_scope = 'slips_open' THEN 3 END;
END $$;
COMMENT ON FUNCTION find_cap IS
    'The cap in force, or null for none. A printed card or a slip, which can be lost, buys '
    'nothing, and nothing is given, until the bank sets a cap; a resident has three slips at once.';

CREATE FUNCTION lock_stock_and_caps(p_bank integer, p_offers uuid[], p_keys cap_key[])
RETURNS void LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM stock WHERE bank_id = p_bank AND offer_id = ANY (p_offers)
    ORDER BY offer_id FOR NO KEY UPDATE;
    INSERT INTO cap_use (bank_id, scope, subject_id, offer_id, used_on)
    SELECT DISTINCT p_bank, scope, subject_id, offer_id, used_on FROM unnest(p_keys)
    ORDER BY scope, subject_id, offer_id, used_on
    ON CONFLICT DO NOTHING;
    PERFORM FROM cap_use u JOIN unnest(p_keys) k USING (scope, subject_id, offer_id, used_on)
    WHERE u.bank_id = p_bank
    ORDER BY u.scope, u.subject_id, u.offer_id, u.used_on FOR NO KEY UPDATE OF u;
END $$;
COMMENT ON FUNCTION lock_stock_and_caps IS
    'Steps 5 and 6 of the lock order. New rows of cap_use are made in the order of their keys too: '
    'whoever waits for one has passed all before it.';

CREATE FUNCTION add_to_caps(p_bank integer, p_keys cap_key[]) RETURNS void
LANGUAGE sql SET search_path = timebank, pg_temp AS $$
    UPDATE cap_use u SET used = u.used + k.amount
    FROM unnest(p_keys) k
    WHERE u.bank_id = p_bank AND k.amount <> 0
      AND (u.scope, u.subject_id, u.offer_id, u.used_on)
          = (k.scope, k.subject_id, k.offer_id, k.used_on);
$$;
COMMENT ON FUNCTION add_to_caps IS 'Counts what an act adds; keys are locked and name a row once.';

CREATE FUNCTION find_cap_fault(
    p_bank integer, p_keys cap_key[], p_override uuid, p_at timestamptz,
    OUT status redemption_status, OUT cap cap_scope
) LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    passed cap_scope;
BEGIN
    SELECT scope INTO passed
    FROM cap_override o JOIN unnest(p_keys) k USING (scope, subject_id, offer_id)
    WHERE (o.bank_id, o.override_id) = (p_bank, p_override)
      AND o.used_by IS NULL AND p_at < o.expires_at AND k.amount <= o.amount;
    IF NOT FOUND AND p_override IS NOT NULL THEN
        status := 'override_not_valid';
        RETURN;
    END IF;
    SELECT k.scope INTO cap
    FROM unnest(p_keys) k LEFT JOIN cap_use u
         ON (u.bank_id, u.scope, u.subject_id, u.offer_id, u.used_on)
            = (p_bank, k.scope, k.subject_id, k.offer_id, k.used_on)
    WHERE k.scope IS DISTINCT FROM passed AND coalesce(u.used, 0) + k.amount
          > find_cap(p_bank, k.scope, k.subject_id, k.offer_id, p_at)
    ORDER BY k.scope LIMIT 1;
    status := CASE WHEN cap IS NOT NULL THEN 'cap_exceeded' END;
END $$;
COMMENT ON FUNCTION find_cap_fault IS
    'The first cap that an act would exceed, an override that does not fit, or null. A reader '
    'without the locks gets a quote.';


-- Codes

CREATE FUNCTION hash_code(p_bank integer, p_code bytea) RETURNS bytea
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_code IS NULL THEN
        RETURN NULL;
    END IF;
    INSERT INTO code_key (bank_id) SELECT p_bank
    WHERE NOT EXISTS (SELECT FROM code_key WHERE bank_id = p_bank)
    ON CONFLICT DO NOTHING;
    RETURN (SELECT sha256(key || p_code) FROM code_key WHERE bank_id = p_bank);
END $$;
COMMENT ON FUNCTION hash_code IS
    'What is kept of a code. p_code is its SHA-256, of a fixed length, so no longer message can be '
    'made from it, and no log of parameters shows a code.';

CREATE FUNCTION lock_attempts(p_bank integer, p_actor uuid, p_merchant uuid) RETURNS boolean
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO code_attempts (bank_id, subject_id)
    SELECT p_bank, subject FROM unnest(ARRAY[p_actor, p_merchant]) AS subject ORDER BY subject
    ON CONFLICT DO NOTHING;
    PERFORM FROM code_attempts WHERE bank_id = p_bank AND subject_id IN (p_actor, p_merchant)
    ORDER BY subject_id FOR NO KEY UPDATE;
    RETURN NOT EXISTS (
        SELECT FROM code_attempts
        WHERE bank_id = p_bank AND subject_id IN (p_actor, p_merchant)
          AND since > clock_timestamp() - interval '15 minutes'
          AND failures >= CASE subject_id WHEN p_merchant THEN 15 ELSE 5 END);
END $$;
COMMENT ON FUNCTION lock_attempts IS
    'Whether this clerk may try a code now: after 5 wrong ones, or 15 at the merchant, in 15 '
    'minutes no more are looked at, so eight digits that live a minute are not found by guessing.';

CREATE FUNCTION count_failure(p_bank integer, p_actor uuid, p_merchant uuid) RETURNS void
LANGUAGE sql SET search_path = timebank, pg_temp AS $$
    UPDATE code_attempts
    SET failures = CASE WHEN since > clock_timestamp() - interval '15 minutes'
                        THEN failures + 1 ELSE 1 END,
        since = CASE WHEN since > clock_timestamp() - interval '15 minutes'
                     THEN since ELSE clock_timestamp() END
    WHERE bank_id = p_bank AND subject_id IN (p_actor, p_merchant);
$$;
COMMENT ON FUNCTION count_failure IS 'Counts a wrong code; lock_attempts came before.';

CREATE FUNCTION issue_payment_code(
    p_bank integer, p_resident uuid, p_source uuid, p_digits bytea, p_token bytea,
    p_lifetime interval
) RETURNS timestamptz LANGUAGE sql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
    INSERT INTO payment_code AS c
    SELECT p_bank, p_resident, p_source, hash_code(p_bank, p_digits), hash_code(p_bank, p_token),
           clock_timestamp() + p_lifetime
    ON CONFLICT (bank_id, resident_id) DO UPDATE
    SET source_account_id = excluded.source_account_id, digits_hash = excluded.digits_hash,
        token_hash = excluded.token_hash, expires_at = excluded.expires_at, used_at = NULL
    RETURNING c.expires_at;
$$;
COMMENT ON FUNCTION issue_payment_code IS
    'Gives a resident a new code that pays from this account, once, and ends the one before. A '
    'unique violation means that another''s has these digits: call again with others.';

CREATE FUNCTION set_pickup_code(p_hold hold, p_digits bytea, p_token bytea) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    digits bytea := hash_code(p_hold.bank_id, p_digits);
BEGIN
    DELETE FROM pickup_code p USING hold h
    WHERE (p.bank_id, p.merchant_id, p.digits_hash) = (p_hold.bank_id, p_hold.merchant_id, digits)
      AND (h.bank_id, h.hold_id) = (p.bank_id, p.hold_id) AND h.state <> 'open';
    INSERT INTO pickup_code
    VALUES (p_hold.bank_id, p_hold.hold_id, p_hold.merchant_id, digits,
            hash_code(p_hold.bank_id, p_token))
    ON CONFLICT (bank_id, hold_id) DO UPDATE
    SET digits_hash = excluded.digits_hash, token_hash = excluded.token_hash;
END $$;
COMMENT ON FUNCTION set_pickup_code IS
    'Gives an open hold a code, which may have been that of one that ended. A unique violation '
    'means that another open hold of the merchant has these digits: call again with others.';

CREATE FUNCTION renew_pickup_code(p_bank integer, p_hold uuid, p_digits bytea, p_token bytea)
RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    held hold;
BEGIN
    SELECT * INTO held FROM hold WHERE (bank_id, hold_id) = (p_bank, p_hold) FOR NO KEY UPDATE;
    IF held.state = 'open' AND held.channel = 'session' THEN
        PERFORM set_pickup_code(held, p_digits, p_token);
        RETURN true;
    END IF;
    RETURN false;
END $$;
COMMENT ON FUNCTION renew_pickup_code IS
    'Gives an open hold another code, since nobody can read the one before; false if it has none.';

CREATE FUNCTION fits_pickup(p_bank integer, p_merchant uuid, p_hold uuid, p_code bytea)
RETURNS boolean LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    hashed bytea := hash_code(p_bank, p_code);
BEGIN
    RETURN EXISTS (SELECT FROM pickup_code
                   WHERE (bank_id, hold_id, merchant_id) = (p_bank, p_hold, p_merchant)
                     AND hashed IN (digits_hash, token_hash));
END $$;
COMMENT ON FUNCTION fits_pickup IS 'Whether this code opens this hold at this merchant.';

CREATE FUNCTION find_pickup(
    p_bank integer, p_merchant uuid, p_actor uuid, p_code bytea,
    OUT status redemption_status, OUT hold_id uuid
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    hashed bytea := hash_code(p_bank, p_code);
BEGIN
    IF NOT lock_attempts(p_bank, p_actor, p_merchant) THEN
        status := 'too_many_wrong_codes';
        RETURN;
    END IF;
    SELECT p.hold_id INTO hold_id FROM pickup_code p
    WHERE p.bank_id = p_bank AND p.merchant_id = p_merchant
      AND hashed IN (p.digits_hash, p.token_hash);
    status := CASE WHEN FOUND THEN 'done' ELSE 'code_not_valid' END;
    IF status <> 'done' THEN
        PERFORM count_failure(p_bank, p_actor, p_merchant);
    END IF;
END $$;
COMMENT ON FUNCTION find_pickup IS
    'The hold that a code opens at this merchant. Another merchant''s looks like none, and a wrong '
    'code is counted: commit it.';


-- Holding

CREATE FUNCTION find_offer_fault(p_wish hold, p_at timestamptz) RETURNS redemption_status
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE
        WHEN p_wish.offer_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM offer
            WHERE (bank_id, offer_id) = (p_wish.bank_id, p_wish.offer_id)
              AND merchant_id = p_wish.merchant_id AND withdrawn_at IS NULL
              AND valid_from <= p_at AND p_at < valid_until)
            THEN 'offer_not_valid'::redemption_status
        WHEN p_wish.shop_id IS NOT NULL AND NOT EXISTS (
            SELECT FROM shop
            WHERE (bank_id, shop_id) = (p_wish.bank_id, p_wish.shop_id)
              AND merchant_id = p_wish.merchant_id AND closed_at IS NULL)
            THEN 'place_not_valid'
        WHEN EXISTS (
            SELECT FROM offer_place WHERE (bank_id, offer_id) = (p_wish.bank_id, p_wish.offer_id)
        ) AND NOT EXISTS (
            SELECT FROM offer_place
            WHERE (bank_id, offer_id, shop_id)
                  = (p_wish.bank_id, p_wish.offer_id, p_wish.shop_id))
            THEN 'place_not_valid'
    END;
$$;
COMMENT ON FUNCTION find_offer_fault IS 'Why this cannot be had of the merchant there, or null.';

CREATE FUNCTION find_agreed_until(p_bank integer, p_merchant uuid, p_at timestamptz)
RETURNS timestamptz LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT max(least(valid_until, ended_at)) FROM agreement
    WHERE bank_id = p_bank AND merchant_id = p_merchant
      AND valid_from <= p_at AND p_at < least(valid_until, ended_at);
$$;
COMMENT ON FUNCTION find_agreed_until IS
    'Until when the agreements in force bind the merchant; null if none does.';

CREATE FUNCTION judge_hold(p_wish hold, p_override uuid)
RETURNS TABLE (status redemption_status, cap cap_scope, wish hold)
LANGUAGE plpgsql STABLE SET search_path = timebank, pg_temp AS $$
DECLARE
    asked     offer;
    agreed    timestamptz := find_agreed_until(p_wish.bank_id, p_wish.merchant_id,
                                               p_wish.placed_at);
    kind      account_kind;
    stands    bigint;
    in_stock  bigint;
BEGIN
    wish := p_wish;
    SELECT * INTO asked FROM offer WHERE (bank_id, offer_id) = (wish.bank_id, wish.offer_id);
    wish.unit_price := coalesce(asked.price, 1);
    wish.expires_at := least(wish.expires_at, asked.valid_until, agreed);
    SELECT account_id INTO wish.merchant_account_id FROM account
    WHERE bank_id = wish.bank_id AND owner_id = wish.merchant_id
      AND (account.kind, unit) = ('merchant', 'points');
    SELECT b.kind, b.balance INTO kind, stands FROM balance b
    WHERE (bank_id, account_id) = (wish.bank_id, wish.source_account_id) AND unit = 'points';
    SELECT available INTO in_stock FROM stock
    WHERE (bank_id, offer_id) = (wish.bank_id, wish.offer_id);
    status := CASE WHEN agreed IS NULL OR wish.merchant_account_id IS NULL
                   THEN 'merchant_not_active'::redemption_status
                   ELSE find_offer_fault(wish, wish.placed_at) END;
    status := coalesce(status, CASE
        WHEN (wish.quantity BETWEEN 1 AND ((1::bigint << 53) - 1) / wish.unit_price) IS NOT TRUE
            THEN 'amount_out_of_range'::redemption_status
        WHEN kind IS NULL OR kind NOT IN ('wallet', 'pool') THEN 'account_not_found'
        WHEN asked.is_stocked AND wish.quantity > coalesce(in_stock, 0) THEN 'out_of_stock' END);
    IF status IS NULL THEN
        SELECT fault.status, fault.cap INTO status, cap
        FROM find_cap_fault(
            wish.bank_id, caps_of_hold(wish, wish.quantity)
                || CASE wish.channel WHEN 'slip' THEN caps_of_slip(wish) END,
            p_override, wish.placed_at) AS fault;
    END IF;
    status := coalesce(status, CASE
        WHEN stands < wish.quantity * wish.unit_price THEN 'insufficient_points'::redemption_status
        WHEN stands - wish.quantity * wish.unit_price
             < count_blocked(wish.bank_id, wish.source_account_id) THEN 'points_blocked'
        ELSE 'done' END);
    RETURN NEXT;
END $$;
COMMENT ON FUNCTION judge_hold IS
    'Decides on a hold at the instant it is placed, and completes it by price and end: it lives no '
    'longer than its offer and the agreement. Under the locks of place_hold this is the decision, '
    'without them a quote.';

CREATE FUNCTION new_wish(
    p_bank integer, p_hold uuid, p_resident uuid, p_source uuid, p_merchant uuid, p_offer uuid,
    p_shop uuid, p_quantity bigint, p_lifetime interval, p_channel channel
) RETURNS hold LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    wish hold;
BEGIN
    wish.bank_id := p_bank;
    wish.hold_id := p_hold;
    wish.resident_id := p_resident;
    wish.source_account_id := p_source;
    wish.merchant_id := p_merchant;
    wish.offer_id := p_offer;
    wish.shop_id := p_shop;
    wish.channel := p_channel;
    wish.quantity := p_quantity;
    wish.placed_at := clock_timestamp();
    wish.placed_on := local_day(p_bank, wish.placed_at);
    wish.expires_at := wish.placed_at + p_lifetime;
    wish.state := 'open';
    wish.captured := 0;
    wish.refunded := 0;
    wish.returned := 0;
    RETURN wish;
END $$;
COMMENT ON FUNCTION new_wish IS 'A hold that is asked for now, before anything is decided.';

CREATE FUNCTION quote_hold(
    p_bank integer, p_resident uuid, p_source uuid, p_merchant uuid, p_offer uuid, p_shop uuid,
    p_quantity bigint, p_lifetime interval, p_channel channel, p_override uuid,
    OUT status redemption_status, OUT cap cap_scope, OUT points bigint, OUT expires_at timestamptz
) LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    asked   hold := new_wish(p_bank, NULL, p_resident, p_source, p_merchant, p_offer, p_shop,
                             p_quantity, p_lifetime, p_channel);
    judged  record;
BEGIN
    SELECT * INTO judged FROM judge_hold(asked, p_override);
    status := judged.status;
    cap := judged.cap;
    expires_at := (judged.wish).expires_at;
    points := CASE WHEN status <> 'amount_out_of_range'
                   THEN p_quantity * (judged.wish).unit_price END;
END $$;
COMMENT ON FUNCTION quote_hold IS 'What place_hold would answer now. It only reads.';

CREATE FUNCTION find_held_account(p_bank integer, p_source uuid) RETURNS uuid
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE WHEN s.owner_id IS NULL  -- two ways, because each is a probe of the index
        THEN (SELECT account_id FROM account
              WHERE bank_id = p_bank AND owner_id IS NULL AND (kind, unit) = ('held', 'points'))
        ELSE (SELECT account_id FROM account
              WHERE bank_id = p_bank AND owner_id = s.owner_id
                AND (kind, unit) = ('held', 'points')) END
    FROM account s WHERE (s.bank_id, s.account_id) = (p_bank, p_source);
$$;
COMMENT ON FUNCTION find_held_account IS
    'Where points of this wallet or pool stand while they are held; null before the first hold.';

CREATE FUNCTION open_held_account(p_bank integer, p_source uuid) RETURNS uuid
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    RETURN (SELECT opened.account_id
            FROM account s CROSS JOIN LATERAL open_accounts(
                p_bank, ARRAY[gen_random_uuid()], '{points}', '{held}', ARRAY[s.owner_id]) AS opened
            WHERE (s.bank_id, s.account_id) = (p_bank, p_source));
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'the held account has just been opened' USING ERRCODE = '40001';
END $$;
COMMENT ON FUNCTION open_held_account IS
    'At the first hold. Whoever loses the race calls again and then locks it in its place.';

CREATE FUNCTION lock_payment_code(p_bank integer, p_code bytea) RETURNS payment_code
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    code    payment_code;
    hashed  bytea;
BEGIN
    IF p_code IS NOT NULL THEN
        hashed := hash_code(p_bank, p_code);
        SELECT * INTO code FROM payment_code
        WHERE bank_id = p_bank AND (digits_hash = hashed OR token_hash = hashed)
        FOR NO KEY UPDATE;
    END IF;
    RETURN code;
END $$;
COMMENT ON FUNCTION lock_payment_code IS 'The row of a code, valid or not, or one of nulls.';

CREATE FUNCTION use_payment_code(p_code payment_code, p_bank integer, p_actor uuid, p_merchant uuid)
RETURNS redemption_status LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    UPDATE payment_code SET used_at = clock_timestamp()
    WHERE (bank_id, resident_id) = (p_bank, p_code.resident_id)
      AND used_at IS NULL AND clock_timestamp() < expires_at;
    IF NOT FOUND THEN
        PERFORM count_failure(p_bank, p_actor, p_merchant);
        RETURN 'code_not_valid';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION use_payment_code IS
    'Uses up a locked code, whatever becomes of the hold; says why not, or null.';

CREATE FUNCTION place_hold(
    p_bank integer, p_hold uuid, p_resident uuid, p_source uuid, p_merchant uuid, p_offer uuid,
    p_shop uuid, p_quantity bigint, p_lifetime interval, p_channel channel, p_override uuid,
    p_actor uuid, p_code bytea, p_pickup_digits bytea, p_pickup_token bytea,
    OUT act redemption_act, OUT is_new boolean
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked    bytea := fingerprint_of(ROW('hold', p_resident, p_source, p_merchant, p_offer, p_shop,
                         p_quantity, p_lifetime, p_channel, p_override, p_actor,
                         hash_code(p_bank, p_code))::text);
    may_try  boolean := p_code IS NULL OR lock_attempts(p_bank, p_actor, p_merchant);
    code     payment_code := lock_payment_code(p_bank, p_code);
    wish     hold := new_wish(p_bank, p_hold, coalesce(p_resident, code.resident_id),
                         coalesce(p_source, code.source_account_id), p_merchant, p_offer, p_shop,
                         p_quantity, p_lifetime, p_channel);
    judged   record;
BEGIN
    PERFORM FROM cap_override WHERE (bank_id, override_id) = (p_bank, p_override) FOR NO KEY UPDATE;
    PERFORM lock_stock_and_caps(p_bank, ARRAY[p_offer], caps_of_hold(wish, 0));
    wish.held_account_id := find_held_account(p_bank, wish.source_account_id);
    PERFORM lock_balances(p_bank, ARRAY[wish.source_account_id, wish.held_account_id]);
    act := find_act(p_bank, p_hold, asked);
    is_new := act.act_id IS NULL;
    IF NOT is_new THEN
        RETURN;
    END IF;
    act := ROW(p_bank, p_hold, 'hold', NULL, NULL, p_hold, p_merchant, p_offer, p_quantity, NULL,
               p_actor, NULL, p_override, NULL, asked, wish.placed_at);
    IF NOT may_try THEN
        act.status := 'too_many_wrong_codes';
    ELSIF p_channel = 'code' THEN
        act.status := use_payment_code(code, p_bank, p_actor, p_merchant);
    END IF;
    IF act.status IS NULL THEN
        SELECT * INTO judged FROM judge_hold(wish, p_override);
        wish := judged.wish;
        act.status := judged.status;
        act.cap := judged.cap;
    END IF;
    IF act.status <> 'done' THEN
        act := record_act(act);
        RETURN;
    END IF;
    act.points := wish.quantity * wish.unit_price;
    act.expires_at := wish.expires_at;
    wish.held_account_id := coalesce(wish.held_account_id,
                                     open_held_account(p_bank, wish.source_account_id));
    PERFORM post_redemption(p_bank, p_hold, p_actor, ARRAY[p_hold], '{hold}',
                            ARRAY[wish.source_account_id], ARRAY[wish.held_account_id],
                            ARRAY[act.points]);
    UPDATE stock SET available = available - wish.quantity
    WHERE (bank_id, offer_id) = (p_bank, p_offer);
    PERFORM add_to_caps(p_bank, caps_of_hold(wish, wish.quantity));
    UPDATE cap_override SET used_by = p_hold WHERE (bank_id, override_id) = (p_bank, p_override);
    INSERT INTO hold SELECT wish.*;
    IF p_channel = 'session' THEN
        PERFORM set_pickup_code(wish, p_pickup_digits, p_pickup_token);
    END IF;
    act := record_act(act);
END $$;
COMMENT ON FUNCTION place_hold IS
    'Holds points and stock for a redemption. By a payment code, which says whose and from where, '
    'resident and source are null; the code is used up even if the hold is refused. p_lifetime is '
    'positive. In a session the pick-up code comes with it, but not when it is answered again.';


CREATE FUNCTION lock_charge(
    p_bank integer, p_merchant uuid, p_offer uuid, p_override uuid, p_actor uuid, p_code bytea
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    may_try  boolean := lock_attempts(p_bank, p_actor, p_merchant);
    code     payment_code := lock_payment_code(p_bank, p_code);
    wish     hold := new_wish(p_bank, NULL, code.resident_id, code.source_account_id, p_merchant,
                              p_offer, NULL, 0, interval '0', 'code');
BEGIN
    PERFORM FROM cap_override WHERE (bank_id, override_id) = (p_bank, p_override) FOR NO KEY UPDATE;
    PERFORM lock_stock_and_caps(p_bank, ARRAY[p_offer], caps_of_hold(wish, 0)
        || ROW('clerk_day', p_actor, nil_id(), wish.placed_on, 0)::cap_key);
    PERFORM lock_balances(p_bank, ARRAY[code.source_account_id,
        find_held_account(p_bank, code.source_account_id),
        (SELECT account_id FROM account WHERE bank_id = p_bank AND owner_id = p_merchant
         AND (kind, unit) = ('merchant', 'points'))]);
END $$;
COMMENT ON FUNCTION lock_charge IS
    'Before a hold by a payment code and its capture in one transaction: steps 2 to 7 of the lock '
    'order for both, so that a charge does not wait for the merchant''s balance with the '
    'resident''s in hand. p_override is that of either act.';


-- Ending

CREATE FUNCTION lock_hold(p_bank integer, p_hold uuid) RETURNS hold
LANGUAGE sql SET search_path = timebank, pg_temp AS $$
    SELECT * FROM hold WHERE (bank_id, hold_id) = (p_bank, p_hold) FOR NO KEY UPDATE;
$$;
COMMENT ON FUNCTION lock_hold IS 'The hold under its lock, or one of nulls.';

CREATE FUNCTION find_hold_fault(p_held hold, p_at timestamptz) RETURNS redemption_status
LANGUAGE sql IMMUTABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE
        WHEN p_held.hold_id IS NULL THEN 'hold_not_found'::redemption_status
        WHEN p_held.state = 'captured' THEN 'hold_already_captured'
        WHEN p_held.state = 'released' THEN 'hold_released'
        WHEN p_held.state = 'expired' OR p_at >= p_held.expires_at THEN 'hold_expired'
    END;
$$;
COMMENT ON FUNCTION find_hold_fault IS
    'Why this hold can be neither captured nor released at this instant, or null.';

CREATE FUNCTION close_hold(p_held hold, p_act redemption_act, p_captured bigint)
RETURNS redemption_act LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    bank  integer := p_held.bank_id;
    rest  bigint := p_held.quantity - p_captured;
BEGIN
    PERFORM post_redemption(
        bank, p_held.hold_id, p_act.actor_id, array_agg(id ORDER BY place),
        array_agg(kind ORDER BY place), array_agg(p_held.held_account_id),
        array_agg(credit ORDER BY place), array_agg(units * p_held.unit_price ORDER BY place))
    FROM (VALUES
        (1, p_act.act_id, 'capture'::transfer_kind, p_held.merchant_account_id, p_captured),
        (2, CASE p_captured WHEN 0 THEN p_act.act_id ELSE derive_uuid(p_act.act_id, 'rest') END,
         'release', p_held.source_account_id, rest)
    ) AS leg (place, id, kind, credit, units) WHERE units > 0;
    IF rest > 0 THEN
        UPDATE stock SET available = available + rest
        WHERE (bank_id, offer_id) = (bank, p_held.offer_id);
        PERFORM add_to_caps(bank, caps_of_hold(p_held, -rest));
    END IF;
    UPDATE hold SET captured = p_captured, ended_at = p_act.recorded_at,
                    captured_by = CASE WHEN p_captured > 0 THEN p_act.actor_id END,
                    state = CASE p_act.kind WHEN 'capture' THEN 'captured'::hold_state
                                            WHEN 'release' THEN 'released' ELSE 'expired' END
    WHERE (bank_id, hold_id) = (bank, p_held.hold_id);
    RETURN record_act(p_act);
END $$;
COMMENT ON FUNCTION close_hold IS
    'Ends an open hold under its locks: points go to the merchant for what is captured, and back '
    'for the rest, which the stock and the caps of its day have again.';

CREATE FUNCTION derive_uuid(p_parent uuid, p_name text) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT overlay(overlay(encode(substr(
        sha256(uuid_send(p_parent) || convert_to(p_name, 'UTF8')), 1, 16), 'hex')
        PLACING '8' FROM 13) PLACING '8' FROM 17)::uuid;
$$;
COMMENT ON FUNCTION derive_uuid IS 'The one id (UUIDv8) that a name has under a parent.';

CREATE FUNCTION capture_hold(
    p_bank integer, p_capture uuid, p_hold uuid, p_merchant uuid, p_quantity bigint,
    p_override uuid, p_actor uuid, p_code bytea
) RETURNS redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked     bytea := fingerprint_of(ROW('capture', p_hold, p_merchant, p_quantity, p_override,
                                          p_actor, hash_code(p_bank, p_code))::text);
    held      hold := lock_hold(p_bank, p_hold);
    may_try   boolean := p_code IS NULL OR lock_attempts(p_bank, p_actor, p_merchant);
    stamp     timestamptz := clock_timestamp();
    quantity  bigint := coalesce(p_quantity, held.quantity);
    clerk     cap_key[] := ARRAY[ROW('clerk_day', p_actor, nil_id(), local_day(p_bank, stamp),
                                     quantity * held.unit_price)::cap_key];
    act       redemption_act;
BEGIN
    PERFORM FROM cap_override WHERE (bank_id, override_id) = (p_bank, p_override) FOR NO KEY UPDATE;
    IF quantity < held.quantity THEN
        PERFORM lock_stock_and_caps(p_bank, ARRAY[held.offer_id], caps_of_hold(held, 0) || clerk);
    ELSE
        PERFORM lock_stock_and_caps(p_bank, NULL, clerk);
    END IF;
    act := find_act(p_bank, p_capture, asked);
    IF act.act_id IS NOT NULL THEN
        RETURN act;
    END IF;
    act := ROW(p_bank, p_capture, 'capture', NULL, NULL, p_hold, p_merchant, held.offer_id,
               quantity, NULL, p_actor, NULL, p_override, NULL, asked, stamp);
    act.status := CASE
        WHEN held.merchant_id IS DISTINCT FROM p_merchant THEN 'hold_not_found'
        WHEN NOT may_try THEN 'too_many_wrong_codes'::redemption_status END;
    IF act.status IS NULL AND held.channel IN ('session', 'slip')
       AND NOT fits_pickup(p_bank, p_merchant, p_hold, p_code) THEN
        act.status := 'code_not_valid';
        IF p_code IS NOT NULL THEN
            PERFORM count_failure(p_bank, p_actor, p_merchant);
        END IF;
    END IF;
    act.status := coalesce(act.status, find_hold_fault(held, stamp), CASE
        WHEN quantity < 1 THEN 'amount_out_of_range'::redemption_status
        WHEN quantity > held.quantity THEN 'capture_exceeds_hold' END);
    IF act.status IS NULL THEN
        SELECT fault.status, fault.cap INTO act.status, act.cap
        FROM find_cap_fault(p_bank, clerk, p_override, stamp) AS fault;
    END IF;
    IF act.status IS NOT NULL THEN
        RETURN record_act(act);
    END IF;
    act.status := 'done';
    act.points := quantity * held.unit_price;
    PERFORM add_to_caps(p_bank, clerk);
    UPDATE cap_override SET used_by = p_capture WHERE (bank_id, override_id) = (p_bank, p_override);
    RETURN close_hold(held, act, quantity);
END $$;
COMMENT ON FUNCTION capture_hold IS
    'The goods are handed over: the merchant has the points of a quantity (null: all), the rest '
    'goes back. A hold placed in a session needs its pick-up code; one of a slip has none and is '
    'captured by the slip alone; a hold of another merchant looks like none.';

CREATE FUNCTION release_hold(
    p_bank integer, p_release uuid, p_hold uuid, p_reason act_reason, p_actor uuid
) RETURNS redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked  bytea := fingerprint_of(ROW('release', p_hold, p_reason, p_actor)::text);
    held   hold := lock_hold(p_bank, p_hold);
    stamp  timestamptz := clock_timestamp();
    act    redemption_act;
BEGIN
    PERFORM lock_stock_and_caps(p_bank, ARRAY[held.offer_id], caps_of_hold(held, 0));
    act := find_act(p_bank, p_release, asked);
    IF act.act_id IS NOT NULL THEN
        RETURN act;
    END IF;
    act := ROW(p_bank, p_release, 'release', NULL, NULL, p_hold, held.merchant_id, held.offer_id,
               held.quantity, held.quantity * held.unit_price, p_actor, p_reason, NULL, NULL, asked,
               stamp);
    act.status := coalesce(find_hold_fault(held, stamp),
                           CASE held.channel WHEN 'slip' THEN 'slip_outstanding'::redemption_status
                           END, 'done');
    IF act.status <> 'done' THEN
        RETURN record_act(act);
    END IF;
    RETURN close_hold(held, act, 0);
END $$;
COMMENT ON FUNCTION release_hold IS
    'The redemption does not take place: all goes back. A slip cannot be called back from tills '
    'offline, so its hold ends by capture or expiry only.';

CREATE FUNCTION expire_holds(p_bank integer, p_limit integer, p_actor uuid)
RETURNS SETOF redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    stamp  timestamptz := clock_timestamp();
    due    hold[] := array(
        SELECT h FROM hold h WHERE bank_id = p_bank AND state = 'open' AND expires_at <= stamp
        ORDER BY expires_at LIMIT p_limit FOR NO KEY UPDATE SKIP LOCKED);
    held   hold;
BEGIN
    PERFORM lock_stock_and_caps(
        p_bank, array(SELECT offer_id FROM unnest(due)),
        array(SELECT key FROM unnest(due) AS h CROSS JOIN unnest(caps_of_hold(h, 0)) AS key));
    PERFORM lock_balances(p_bank, array(
        SELECT unnest(ARRAY[source_account_id, held_account_id]) FROM unnest(due)));
    FOREACH held IN ARRAY due LOOP
        RETURN NEXT close_hold(held, ROW(
            p_bank, derive_uuid(held.hold_id, 'expire'), 'expire', 'done', NULL, held.hold_id,
            held.merchant_id, held.offer_id, held.quantity, held.quantity * held.unit_price,
            p_actor, NULL, NULL, NULL, fingerprint_of('expire'), stamp)::redemption_act, 0);
    END LOOP;
END $$;
COMMENT ON FUNCTION expire_holds IS
    'Ends holds that are overdue, the oldest first, and returns what it did; none are left when it '
    'returns fewer than asked for and nobody else is at it. The ids are made from the holds, and '
    'what another has locked is passed over: two sweepers do no harm.';

CREATE FUNCTION refund_capture(
    p_bank integer, p_refund uuid, p_hold uuid, p_merchant uuid, p_points bigint, p_returned bigint,
    p_reason act_reason, p_actor uuid
) RETURNS redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked   bytea := fingerprint_of(ROW('refund', p_hold, p_merchant, p_points, p_returned,
                                        p_reason, p_actor)::text);
    held    hold := lock_hold(p_bank, p_hold);
    stamp   timestamptz := clock_timestamp();
    stands  bigint;
    act     redemption_act;
BEGIN
    PERFORM lock_stock_and_caps(p_bank, ARRAY[held.offer_id], NULL);
    PERFORM lock_balances(p_bank, ARRAY[held.merchant_account_id, held.source_account_id]);
    act := find_act(p_bank, p_refund, asked);
    IF act.act_id IS NOT NULL THEN
        RETURN act;
    END IF;
    SELECT balance INTO stands FROM balance
    WHERE (bank_id, account_id) = (p_bank, held.merchant_account_id);
    act := ROW(p_bank, p_refund, 'refund', NULL, NULL, p_hold, p_merchant, held.offer_id,
               p_returned, p_points, p_actor, p_reason, NULL, NULL, asked, stamp);
    act.status := CASE
        WHEN held.merchant_id IS DISTINCT FROM p_merchant THEN 'hold_not_found'
        WHEN held.state <> 'captured' THEN coalesce(find_hold_fault(held, stamp),
                                                    'hold_not_captured')
        WHEN p_points < 1 OR p_returned < 0 OR p_returned > 0 AND held.offer_id IS NULL
            THEN 'amount_out_of_range'
        WHEN held.refunded + p_points > held.captured * held.unit_price
            THEN 'refund_exceeds_captured'
        WHEN held.returned + p_returned > held.captured THEN 'return_exceeds_captured'
        WHEN stands < p_points THEN 'merchant_lacks_points'
        ELSE 'done' END;
    IF act.status = 'done' THEN
        PERFORM post_redemption(p_bank, p_hold, p_actor, ARRAY[p_refund], '{refund}',
                                ARRAY[held.merchant_account_id], ARRAY[held.source_account_id],
                                ARRAY[p_points]);
        UPDATE stock SET available = available + p_returned
        WHERE (bank_id, offer_id) = (p_bank, held.offer_id) AND p_returned > 0;
        UPDATE hold SET refunded = refunded + p_points, returned = returned + p_returned
        WHERE (bank_id, hold_id) = (p_bank, p_hold);
    END IF;
    RETURN record_act(act);
END $$;
COMMENT ON FUNCTION refund_capture IS
    'Gives points of a capture back to where they were held from, in parts as often as it takes; '
    'p_returned is how many of the goods are in the stock again.';

CREATE FUNCTION restock(
    p_bank integer, p_restock uuid, p_offer uuid, p_units bigint, p_reason act_reason, p_actor uuid
) RETURNS redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked      bytea := fingerprint_of(ROW('restock', p_offer, p_units, p_reason, p_actor)::text);
    stocked    offer;
    available  bigint;
    act        redemption_act;
BEGIN
    SELECT * INTO stocked FROM offer WHERE (bank_id, offer_id) = (p_bank, p_offer) AND is_stocked;
    INSERT INTO stock (bank_id, offer_id) SELECT p_bank, stocked.offer_id
    WHERE stocked.offer_id IS NOT NULL ON CONFLICT DO NOTHING;
    PERFORM lock_stock_and_caps(p_bank, ARRAY[p_offer], NULL);
    act := find_act(p_bank, p_restock, asked);
    IF act.act_id IS NOT NULL THEN
        RETURN act;
    END IF;
    SELECT s.available INTO available FROM stock s WHERE (bank_id, offer_id) = (p_bank, p_offer);
    act := ROW(p_bank, p_restock, 'restock', NULL, NULL, NULL, stocked.merchant_id, p_offer,
               p_units, NULL, p_actor, p_reason, NULL, NULL, asked, clock_timestamp());
    act.status := CASE
        WHEN available IS NULL THEN 'offer_not_valid'
        WHEN p_units = 0 OR p_units > (1::bigint << 53) - 1 - available THEN 'amount_out_of_range'
        WHEN available + p_units < 0 THEN 'out_of_stock'
        ELSE 'done' END;
    IF act.status = 'done' THEN
        UPDATE stock s SET available = s.available + p_units
        WHERE (bank_id, offer_id) = (p_bank, p_offer);
    END IF;
    RETURN record_act(act);
END $$;
COMMENT ON FUNCTION restock IS
    'Brings units into the stock of an offer, or takes lost ones out, never more than stand there.';

CREATE FUNCTION grant_override(
    p_bank integer, p_approval uuid, p_scope cap_scope, p_subject uuid, p_offer uuid,
    p_amount bigint, p_reason override_reason, p_lifetime interval
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO cap_override (bank_id, override_id, scope, subject_id, offer_id, amount, reason,
                              expires_at)
    SELECT p_bank, p_approval, p_scope, p_subject, p_offer, p_amount, p_reason,
           clock_timestamp() + p_lifetime
    FROM approval
    WHERE (bank_id, approval_id) = (p_bank, p_approval) AND state = 'approved'
      AND deed = 'pass_cap' AND p_subject = ANY (beneficiaries);
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION grant_override IS
    'Does what four eyes approved as the deed pass_cap, once; false if they did not.';

GRANT INSERT ON merchant, agreement, shop, offer, offer_place, cap_rule TO timebank_app;
SELECT make_final('agreement', 'ended_at'), make_final('shop', 'closed_at'),
       make_final('offer', 'withdrawn_at');

GRANT UPDATE (ended_at) ON agreement TO timebank_app;
GRANT UPDATE (closed_at) ON shop TO timebank_app;
GRANT UPDATE (withdrawn_at) ON offer TO timebank_app;
GRANT EXECUTE ON FUNCTION
    quote_hold, place_hold, lock_charge, capture_hold, release_hold, expire_holds, refund_capture,
    restock, issue_payment_code, renew_pickup_code, find_pickup, grant_override TO timebank_app;
GRANT EXECUTE ON FUNCTION find_hold_fault, find_cap, nil_id TO timebank_app, timebank_auditor;
GRANT EXECUTE ON FUNCTION find_last_seq TO timebank_app;


-- ── Slips ───────────────────────────────────────────────────────────────────────────────────────
--
-- A slip is points that a resident takes along for one merchant's till without a network: a hold of
-- an open amount, and on paper what the bank signed of it. Till and bank cannot ask each other, so:
--   two ends     A till takes a slip before slip.expires_at, which is signed and printed. The hold
--                stands longer, by the grace in which that till finds a network. Until then nobody
--                has the points back: what was taken offline looks from here like what was not.
--   once         Each taking (acceptance) at a till has an id of its own, and the first told here
--                has the points; another, of a cloned till, has none, whatever was handed out.
--   no clerk_day A cap of the clerk who tells of the takings of days would refuse what is gone.
--   lock order   As in redemption; each capture is one transaction.

CREATE TABLE slip (
    bank_id     integer     NOT NULL,
    number      bigint      NOT NULL CONSTRAINT slip_number_has_twelve_digits
                            CHECK (number BETWEEN 100000000000 AND 999999999999),
    hold_id     uuid        NOT NULL,
    key_id      text        NOT NULL,
    issued_at   timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    CONSTRAINT slip_number_unique PRIMARY KEY (bank_id, number),
    CONSTRAINT slip_of_one_hold UNIQUE (bank_id, hold_id),
    CONSTRAINT slip_expires_after_it_was_issued CHECK (issued_at < expires_at)
);
COMMENT ON TABLE slip IS
    'What was signed of a hold, so that it can be printed again; the signature is not kept, and '
    'who reads this can make no slip of it. Append-only.';
COMMENT ON COLUMN slip.number IS 'Random, with two check digits.';
COMMENT ON COLUMN slip.issued_at IS 'In whole seconds, as is expires_at: so it is signed.';
COMMENT ON COLUMN slip.expires_at IS
    'Tills take it before; the hold ends by a grace later, in which they tell of it.';
SELECT make_append_only('slip');

CREATE FUNCTION caps_of_slip(p_wish hold) RETURNS cap_key[]
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT ARRAY[
        ROW('slip', p_wish.resident_id, nil_id(), '-infinity', p_wish.quantity)::cap_key,
        ROW('slips_open', p_wish.resident_id, nil_id(), '-infinity', 1 + count(*))::cap_key]
    FROM hold
    WHERE bank_id = p_wish.bank_id AND resident_id = p_wish.resident_id
      AND state = 'open' AND channel = 'slip';
$$;
COMMENT ON FUNCTION caps_of_slip IS
    'Caps that a new slip is measured by but does not count in: one looks at it alone, one at the '
    'slips that stand open, which are counted where they stand.';

CREATE FUNCTION check_hold_has_slip() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM refuse('hold_of_a_slip_has_one', NEW.hold_id::text)
    WHERE NOT EXISTS (SELECT FROM slip WHERE (bank_id, hold_id) = (NEW.bank_id, NEW.hold_id)
                                         AND expires_at <= NEW.expires_at);
    RETURN NULL;
END $$;
COMMENT ON FUNCTION check_hold_has_slip IS
    'Nobody places a hold that is never released and has no slip, or one that outlives it: nobody '
    'could capture it.';
CREATE CONSTRAINT TRIGGER hold_has_slip AFTER INSERT ON hold DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.channel = 'slip') EXECUTE FUNCTION check_hold_has_slip();
ALTER TABLE hold ENABLE ALWAYS TRIGGER hold_has_slip;

CREATE FUNCTION place_slip(
    p_bank integer, p_hold uuid, p_resident uuid, p_source uuid, p_merchant uuid, p_points bigint,
    p_lifetime interval, p_grace interval, p_override uuid, p_actor uuid, p_number bigint,
    p_key text, OUT act redemption_act, OUT is_new boolean
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    placed record;
BEGIN
    PERFORM refuse('slip_is_signed_with_its_key', p_key)
    WHERE NOT EXISTS (SELECT FROM signing_key
                      WHERE (bank_id, key_id, purpose) = (p_bank, p_key, 'slip'));
    SELECT * INTO placed
    FROM place_hold(p_bank, p_hold, p_resident, p_source, p_merchant, NULL, NULL, p_points,
                    p_lifetime + p_grace, 'slip', p_override, p_actor, NULL, NULL, NULL);
    act := placed.act;
    is_new := placed.is_new;
    IF is_new AND act.status = 'done' THEN
        PERFORM refuse('slip_is_good_for_a_day', p_hold::text)
        WHERE act.expires_at - p_grace < act.recorded_at + least(p_lifetime, interval '1 day');
        INSERT INTO slip
        VALUES (p_bank, p_number, p_hold, p_key, date_trunc('second', act.recorded_at),
                date_trunc('second', act.expires_at - p_grace));
    END IF;
END $$;
COMMENT ON FUNCTION place_slip IS
    'Holds points for a slip of this number, to be signed with this key. Where the '
    'agreement ends so soon that no day is left before the grace, nor what was asked for: '
    'slip_is_good_for_a_day, and nothing is held, for what is held then stands for a week. A '
    'unique violation means that another slip has the number: call again with another.';

CREATE FUNCTION capture_slip(
    p_bank integer, p_capture uuid, p_number bigint, p_merchant uuid, p_actor uuid,
    OUT act redemption_act, OUT is_new boolean
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked  bytea := fingerprint_of(ROW('slip', p_number, p_merchant)::text);
    held   hold := lock_hold(p_bank, (SELECT hold_id FROM slip
                                      WHERE (bank_id, number) = (p_bank, p_number)));
    stamp  timestamptz := clock_timestamp();
BEGIN
    act := find_act(p_bank, p_capture, asked);
    is_new := act.act_id IS NULL;
    IF NOT is_new THEN
        RETURN;
    END IF;
    act := ROW(p_bank, p_capture, 'capture', NULL, NULL, held.hold_id, p_merchant, NULL,
               held.quantity, NULL, p_actor, NULL, NULL, NULL, asked, stamp);
    act.status := CASE WHEN held.merchant_id IS DISTINCT FROM p_merchant
                       THEN 'hold_not_found'::redemption_status
                       ELSE coalesce(find_hold_fault(held, stamp), 'done') END;
    IF act.status <> 'done' THEN
        act := record_act(act);
        RETURN;
    END IF;
    act.points := held.quantity * held.unit_price;
    act := close_hold(held, act, held.quantity);
END $$;
COMMENT ON FUNCTION capture_slip IS
    'Gives the merchant all the points of a slip that its till took: who calls has seen the slip. '
    'The id is that of the acceptance, so told again it is answered as it was, whoever tells.';

GRANT EXECUTE ON FUNCTION place_slip, capture_slip TO timebank_app;


-- ── Settlement ──────────────────────────────────────────────────────────────────────────────────
--
-- A settlement covers lines first_seq..last_seq of a merchant's passbook, which is gapless; the
-- next begins at last_seq + 1, so no line is settled twice or never. Its statement is the sum of
-- these lines but for those of settlements themselves, which say what was paid.
--
--   paid         At most what the merchant has when it is closed: what was refunded or given on
--                since the cut-off is not paid for, but carried, and the next settlement has the
--                refund among its lines. A statement below 0 pays nothing and is carried too:
--                carried_out = carried_in + captured - refunded - reissued - paid.
--   yuan         fen_rate is fen for ten thousand points, so fractions are ten-thousandths of a
--                fen: fen * 10000 + remainder_out = paid * fen_rate + remainder_in.
--   lock order   The merchant's balance first, at closing with that of the retired account, in one
--                lock_balances; who has it alone reads and writes the merchant's settlements.

CREATE TYPE settlement_state AS ENUM (
    'draft',     -- -> approved by the second of two persons, or gone
    'approved',  -- -> closed, or gone
    'closed'     -- for ever
);

CREATE TYPE settlement_status AS ENUM (
    'done',                  -- it took effect, now or before; with every other status it had none
    'id_conflict',           -- the id is taken by other content
    'settlement_not_found',  -- or the merchant of a draft is unknown
    'settlement_open',       -- the one before is not closed yet
    'settlement_closed',     -- it never changes again
    'settlement_not_approved',
    'settlement_differs',    -- it is not what the approver saw
    'settlement_empty',      -- nothing happened in that time
    'cut_off_in_future',
    'second_person_needed'   -- whoever acts for the merchant does not approve
);

CREATE TABLE settlement (
    bank_id          integer          NOT NULL,
    settlement_id    uuid             NOT NULL,
    merchant_id      uuid             NOT NULL,
    account_id       uuid             NOT NULL,
    number           integer          NOT NULL,
    cut_off          timestamptz      NOT NULL,
    first_seq        bigint           NOT NULL,
    last_seq         bigint           NOT NULL,
    captured         bigint           NOT NULL,
    refunded         bigint           NOT NULL,
    reissued         bigint           NOT NULL,
    carried_in       bigint           NOT NULL,
    fen_rate         bigint           CONSTRAINT settlement_rate_sane
                                      CHECK (fen_rate BETWEEN 0 AND 100000000),
    remainder_in     integer          NOT NULL,
    content_hash     bytea            NOT NULL,
    state            settlement_state NOT NULL DEFAULT 'draft',
    drafted_by       uuid             NOT NULL,
    drafted_at       timestamptz      NOT NULL,
    first_approver   uuid,
    second_approver  uuid,
    approved_at      timestamptz,
    paid             bigint           CONSTRAINT settlement_pays_not_below_0 CHECK (paid >= 0),
    carried_out      bigint,
    fen              bigint,
    remainder_out    integer,
    closed_by        uuid,
    closed_at        timestamptz,
    PRIMARY KEY (bank_id, settlement_id),
    CONSTRAINT settlement_numbered_once UNIQUE (bank_id, merchant_id, number),
    CONSTRAINT settlement_begins_once UNIQUE (bank_id, account_id, first_seq),
    CONSTRAINT settlement_covers_lines CHECK (first_seq BETWEEN 1 AND last_seq),
    CONSTRAINT settlement_approved_by_two CHECK (
        first_approver <> second_approver AND (state = 'draft') = (second_approver IS NULL)
        AND (state = 'draft') = (approved_at IS NULL)
        AND (second_approver IS NULL OR first_approver IS NOT NULL)),
    CONSTRAINT settlement_closed_iff_paid CHECK (
        (state = 'closed') = (paid IS NOT NULL) AND (state = 'closed') = (carried_out IS NOT NULL)
        AND (state = 'closed') = (remainder_out IS NOT NULL)
        AND (state = 'closed') = (closed_by IS NOT NULL)
        AND (state = 'closed') = (closed_at IS NOT NULL)
        AND (state = 'closed' AND fen_rate IS NOT NULL) = (fen IS NOT NULL)),
    CONSTRAINT settlement_carries_the_rest CHECK (
        carried_out = carried_in + captured - refunded - reissued - paid),
    CONSTRAINT settlement_rounds_exactly CHECK (
        remainder_out BETWEEN 0 AND 9999 AND CASE WHEN fen_rate IS NULL
            THEN remainder_out = remainder_in
            ELSE fen::numeric * 10000 + remainder_out = paid::numeric * fen_rate + remainder_in END)
);
COMMENT ON TABLE settlement IS
    'What a merchant is paid for, up to a cut-off. A closed one never changes, nor does its place '
    'in the row of them.';
COMMENT ON COLUMN settlement.number IS '1, 2, 3 … for each merchant.';
COMMENT ON COLUMN settlement.cut_off IS 'Lines recorded before this instant, half-open.';
COMMENT ON COLUMN settlement.reissued IS 'Points the merchant gave on, less what was reversed.';
COMMENT ON COLUMN settlement.carried_in IS 'What the one before did not pay; below 0 if too much.';
COMMENT ON COLUMN settlement.remainder_in IS 'Ten-thousandths of a fen, from the one before.';
COMMENT ON COLUMN settlement.content_hash IS 'SHA-256 of the statement, which approvers name.';
COMMENT ON COLUMN settlement.paid IS
    'Points; above 0, the settlement''s id is also that of the transfer to the retired account.';

CREATE FUNCTION check_settlement() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
DECLARE
    later   text[] := ARRAY['state', 'first_approver', 'second_approver', 'approved_at', 'paid',
                            'carried_out', 'fen', 'remainder_out', 'closed_by', 'closed_at'];
    former  settlement;
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT * INTO former FROM settlement
        WHERE bank_id = NEW.bank_id AND merchant_id = NEW.merchant_id
        ORDER BY number DESC LIMIT 1;
        IF (NEW.state, NEW.number, NEW.first_seq, NEW.carried_in, NEW.remainder_in) = (
                'draft', coalesce(former.number, 0) + 1, coalesce(former.last_seq, 0) + 1,
                coalesce(former.carried_out, 0), coalesce(former.remainder_out, 0))
            AND coalesce(former.state, 'closed') = 'closed' THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' AND OLD.state <> 'closed' THEN
        RETURN OLD;
    ELSIF TG_OP = 'UPDATE' AND to_jsonb(NEW) - later = to_jsonb(OLD) - later
        AND (OLD.state, NEW.state) IN (('draft', 'draft'), ('draft', 'approved'),
                                       ('approved', 'closed')) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION '% of settlement refused: one follows another, and closed is for ever', TG_OP
        USING ERRCODE = 'insufficient_privilege';
END $$;
COMMENT ON FUNCTION check_settlement IS
    'Settlements follow each other without gap, go draft, approved, closed, and then stay.';
CREATE TRIGGER settlement_is_lawful BEFORE INSERT OR UPDATE OR DELETE ON settlement
    FOR EACH ROW EXECUTE FUNCTION check_settlement();
CREATE TRIGGER settlement_is_never_emptied BEFORE TRUNCATE ON settlement
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
ALTER TABLE settlement ENABLE ALWAYS TRIGGER settlement_is_lawful;
ALTER TABLE settlement ENABLE ALWAYS TRIGGER settlement_is_never_emptied;

CREATE FUNCTION sum_merchant_lines(
    p_bank integer, p_account uuid, p_first bigint, p_last bigint,
    OUT captured bigint, OUT refunded bigint, OUT reissued bigint, OUT lines bigint
) LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT coalesce(sum(p.amount) FILTER (WHERE t.kind = 'capture'), 0),
           -coalesce(sum(p.amount) FILTER (WHERE t.kind = 'refund'), 0),
           -coalesce(sum(p.amount) FILTER (WHERE t.kind IN ('reissue', 'reversal')), 0),
           count(*) FILTER (WHERE t.kind <> 'settlement')
    FROM posting p JOIN transfer t USING (bank_id, transfer_id)
    WHERE p.bank_id = p_bank AND p.account_id = p_account AND p.seq BETWEEN p_first AND p_last;
$$;
COMMENT ON FUNCTION sum_merchant_lines IS 'What lines of a merchant''s passbook come to, by kind.';

CREATE FUNCTION lock_settlements(p_bank integer, p_merchant uuid, p_others uuid[]) RETURNS uuid
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    account uuid := (SELECT account_id FROM account
                     WHERE bank_id = p_bank AND owner_id = p_merchant
                       AND (kind, unit) = ('merchant', 'points'));
BEGIN
    PERFORM lock_balances(p_bank, account || p_others);
    RETURN account;
END $$;
COMMENT ON FUNCTION lock_settlements IS
    'Locks a merchant''s balance, and others with it, and so the settlements; returns the account.';

CREATE FUNCTION draft_settlement(
    p_bank integer, p_settlement uuid, p_merchant uuid, p_cut_off timestamptz, p_fen_rate bigint,
    p_actor uuid, OUT status settlement_status, OUT drafted settlement
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    account  uuid := lock_settlements(p_bank, p_merchant, NULL);
    former   settlement;
    last     bigint;
    sums     record;
BEGIN
    SELECT * INTO drafted FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    IF FOUND OR EXISTS (SELECT FROM transfer
                        WHERE (bank_id, transfer_id) = (p_bank, p_settlement)) THEN
        status := CASE WHEN (drafted.merchant_id, drafted.cut_off, drafted.drafted_by)
                            = (p_merchant, p_cut_off, p_actor)
                        AND drafted.fen_rate IS NOT DISTINCT FROM p_fen_rate
                       THEN 'done'::settlement_status ELSE 'id_conflict' END;
        RETURN;
    END IF;
    SELECT * INTO former FROM settlement
    WHERE bank_id = p_bank AND merchant_id = p_merchant ORDER BY number DESC LIMIT 1;
    SELECT seq INTO last FROM posting
    WHERE bank_id = p_bank AND account_id = account AND recorded_at < p_cut_off
    ORDER BY seq DESC LIMIT 1;
    SELECT * INTO sums
    FROM sum_merchant_lines(p_bank, account, coalesce(former.last_seq, 0) + 1, last);
    status := CASE
        WHEN account IS NULL THEN 'settlement_not_found'::settlement_status
        WHEN former.state <> 'closed' THEN 'settlement_open'
        WHEN p_cut_off > clock_timestamp() THEN 'cut_off_in_future'
        WHEN sums.lines = 0 THEN 'settlement_empty'
        ELSE 'done' END;
    IF status = 'done' THEN
        drafted := ROW(
            p_bank, p_settlement, p_merchant, account, coalesce(former.number, 0) + 1, p_cut_off,
            coalesce(former.last_seq, 0) + 1, last, sums.captured, sums.refunded, sums.reissued,
            coalesce(former.carried_out, 0), p_fen_rate, coalesce(former.remainder_out, 0), NULL,
            NULL, p_actor, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
        drafted.content_hash := fingerprint_of(drafted::text);
        drafted.state := 'draft';
        drafted.drafted_at := clock_timestamp();
        INSERT INTO settlement SELECT drafted.*;
    END IF;
END $$;
COMMENT ON FUNCTION draft_settlement IS
    'The statement of what was recorded before a cut-off that has passed, and not settled before. '
    'Under the lock of the balance nothing can be recorded before it any more.';

CREATE FUNCTION approve_settlement(
    p_bank integer, p_settlement uuid, p_content_hash bytea, p_actor uuid,
    OUT status settlement_status, OUT approved settlement
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
BEGIN
    SELECT * INTO approved FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    PERFORM lock_settlements(p_bank, approved.merchant_id, NULL);
    SELECT * INTO approved FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    status := CASE
        WHEN NOT FOUND THEN 'settlement_not_found'::settlement_status
        WHEN approved.content_hash <> p_content_hash THEN 'settlement_differs'
        WHEN p_actor IN (approved.first_approver, approved.second_approver) THEN 'done'
        WHEN approved.state = 'closed' THEN 'settlement_closed'
        WHEN p_actor IN (SELECT list_persons_behind(p_bank, approved.merchant_id))
            THEN 'second_person_needed'
        ELSE 'done' END;
    IF status = 'done' AND approved.state = 'draft'
       AND approved.first_approver IS DISTINCT FROM p_actor THEN
        UPDATE settlement
        SET first_approver = coalesce(first_approver, p_actor),
            second_approver = CASE WHEN first_approver IS NOT NULL THEN p_actor END,
            approved_at = CASE WHEN first_approver IS NOT NULL THEN clock_timestamp() END,
            state = CASE WHEN first_approver IS NOT NULL THEN 'approved'::settlement_state
                         ELSE 'draft' END
        WHERE (bank_id, settlement_id) = (p_bank, p_settlement) RETURNING * INTO approved;
    END IF;
END $$;
COMMENT ON FUNCTION approve_settlement IS
    'One of two persons agrees to the statement that they saw; who drafted it may be one of them, '
    'who acts for the merchant may not, nor their guardian.';

CREATE FUNCTION discard_settlement(p_bank integer, p_settlement uuid) RETURNS settlement_status
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    found settlement;
BEGIN
    SELECT * INTO found FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    PERFORM lock_settlements(p_bank, found.merchant_id, NULL);
    SELECT * INTO found FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    IF found.state = 'closed' THEN
        RETURN 'settlement_closed';
    END IF;
    DELETE FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    RETURN 'done';
END $$;
COMMENT ON FUNCTION discard_settlement IS 'Takes back what is not closed; nothing was moved by it.';

CREATE FUNCTION find_retired_account(p_bank integer) RETURNS uuid
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    found uuid := (SELECT account_id FROM account
                   WHERE bank_id = p_bank AND owner_id IS NULL
                     AND (kind, unit) = ('retired', 'points'));
BEGIN
    RETURN coalesce(found, (SELECT account_id FROM open_accounts(
        p_bank, ARRAY[gen_random_uuid()], '{points}', '{retired}', ARRAY[NULL::uuid])));
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'the retired account has just been opened' USING ERRCODE = '40001';
END $$;
COMMENT ON FUNCTION find_retired_account IS
    'Where points end, opened at the first use; whoever loses that race calls again.';

CREATE FUNCTION close_settlement(
    p_bank integer, p_settlement uuid, p_actor uuid,
    OUT status settlement_status, OUT closed settlement
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    retired  uuid := find_retired_account(p_bank);
    pays     bigint;
    exact    numeric;
BEGIN
    SELECT * INTO closed FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    PERFORM lock_settlements(p_bank, closed.merchant_id, ARRAY[retired]);
    SELECT * INTO closed FROM settlement WHERE (bank_id, settlement_id) = (p_bank, p_settlement);
    status := CASE
        WHEN NOT FOUND THEN 'settlement_not_found'::settlement_status
        WHEN closed.state = 'draft' THEN 'settlement_not_approved'
        ELSE 'done' END;
    IF closed.state IS DISTINCT FROM 'approved' THEN
        RETURN;
    END IF;
    SELECT greatest(0, least(balance, closed.carried_in + closed.captured - closed.refunded
                                      - closed.reissued)) INTO pays
    FROM balance WHERE (bank_id, account_id) = (p_bank, closed.account_id);
    exact := pays::numeric * closed.fen_rate + closed.remainder_in;
    UPDATE settlement
    SET state = 'closed', paid = pays, closed_by = p_actor, closed_at = clock_timestamp(),
        carried_out = carried_in + captured - refunded - reissued - pays,
        fen = div(exact, 10000), remainder_out = coalesce(mod(exact, 10000), remainder_in)
    WHERE (bank_id, settlement_id) = (p_bank, p_settlement) RETURNING * INTO closed;
    IF pays > 0 THEN
        PERFORM post_redemption(p_bank, p_settlement, p_actor, ARRAY[p_settlement], '{settlement}',
                                ARRAY[closed.account_id], ARRAY[retired], ARRAY[pays]);
    END IF;
    PERFORM note_settlement(closed);
END $$;
COMMENT ON FUNCTION close_settlement IS
    'Pays what two persons approved and the merchant still has, in one transfer to the retired '
    'account; closed before, it is answered as it was.';

GRANT EXECUTE ON FUNCTION draft_settlement, approve_settlement, discard_settlement, close_settlement
    TO timebank_app;


-- ── Exchange ────────────────────────────────────────────────────────────────────────────────────
--
-- Points that are given: by residents to kin or a pool, by merchants from what they took in, from a
-- pool to a household in need. Acts as those of redemption, by their rules and in their lock order.

CREATE TABLE family_member (
    bank_id    integer     NOT NULL,
    family_id  uuid        NOT NULL,
    member_id  uuid        NOT NULL,
    may_hold   boolean     NOT NULL,
    joined_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    left_at    timestamptz,
    confirmed_by uuid,
    confirmed_at timestamptz,
    CONSTRAINT family_joined_once_at_a_time PRIMARY KEY (bank_id, family_id, member_id, joined_at),
    CONSTRAINT family_is_of_others CHECK (family_id <> member_id),
    CONSTRAINT family_confirmed_by_somebody CHECK ((confirmed_by IS NULL) = (confirmed_at IS NULL))
);
CREATE UNIQUE INDEX family_member_once ON family_member (bank_id, family_id, member_id)
    WHERE left_at IS NULL;
CREATE INDEX family_of_member ON family_member (bank_id, member_id) WHERE left_at IS NULL;
COMMENT ON TABLE family_member IS
    'Who belongs to a family, a party that owns a pool. All who are confirmed may give to it.';
COMMENT ON COLUMN family_member.may_hold IS 'Whether they also spend from the pool.';
COMMENT ON COLUMN family_member.confirmed_by IS
    'Who knows that they are family: whom it does not serve, or, of the first, the founder. Until '
    'then they are kin of nobody there and have no part in the pool.';

CREATE TABLE family_invitation (
    bank_id        integer     NOT NULL,
    invitation_id  uuid        NOT NULL,
    family_id      uuid        NOT NULL,
    token_hash     bytea       NOT NULL,
    may_hold       boolean     NOT NULL,
    invited_by     uuid        NOT NULL,
    invited_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at     timestamptz NOT NULL,
    used_by        uuid,
    used_at        timestamptz,
    CONSTRAINT invitation_made_once PRIMARY KEY (bank_id, invitation_id),
    CONSTRAINT invitation_found_by_token UNIQUE (bank_id, token_hash),
    CONSTRAINT invitation_token_is_sha256 CHECK (length(token_hash) = 32),
    CONSTRAINT invitation_used_by_somebody CHECK ((used_by IS NULL) = (used_at IS NULL))
);
COMMENT ON TABLE family_invitation IS
    'A family''s half of a consent: who holds the token, and uses it, gives the other half.';
COMMENT ON COLUMN family_invitation.token_hash IS 'SHA-256 of 128 random bits, shown once.';

CREATE TABLE saturation_rule (
    bank_id      integer     NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    days         integer     NOT NULL CONSTRAINT saturation_looks_back
                             CHECK (days BETWEEN 1 AND 3660),
    balance      bigint      NOT NULL CONSTRAINT saturation_balance_positive CHECK (balance > 0),
    percent_out  integer     NOT NULL CONSTRAINT saturation_percent_sane
                             CHECK (percent_out BETWEEN 0 AND 100),
    set_by       uuid        NOT NULL,
    CONSTRAINT saturation_set_once_at_a_time PRIMARY KEY (bank_id, set_at)
);
COMMENT ON TABLE saturation_rule IS
    'When a shop counts as full: it has so much, and of what came in during these days at most '
    'this percentage went out. The last set is in force. Append-only.';
SELECT make_append_only('saturation_rule');

CREATE FUNCTION give_points(
    p_bank integer, p_act uuid, p_kind act_kind, p_from uuid, p_to uuid, p_points bigint,
    p_override uuid, p_actor uuid
) RETURNS redemption_act LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    asked   bytea := fingerprint_of(ROW(p_kind, p_from, p_to, p_points, p_override, p_actor)::text);
    moves   transfer_kind := CASE p_kind WHEN 'allocate' THEN 'transfer'
                                         ELSE p_kind::text::transfer_kind END;
    stamp   timestamptz := clock_timestamp();
    giver   account;
    caps    cap_key[] := '{}';
    locked  locked_balances;
    stands  bigint;
    act     redemption_act;
BEGIN
    SELECT * INTO giver FROM account WHERE (bank_id, account_id) = (p_bank, p_from);
    IF p_kind <> 'allocate' AND giver.owner_id IS NOT NULL THEN
        caps := ARRAY[ROW(CASE p_kind WHEN 'gift' THEN 'gift_day' ELSE 'reissue_day' END,
                          giver.owner_id, nil_id(), local_day(p_bank, stamp), p_points)::cap_key];
    END IF;
    PERFORM FROM cap_override WHERE (bank_id, override_id) = (p_bank, p_override) FOR NO KEY UPDATE;
    PERFORM lock_stock_and_caps(p_bank, NULL, caps);
    locked := lock_balances(p_bank, ARRAY[p_from, p_to]);
    stands := locked.balances[array_position(locked.account_ids, p_from)];
    act := find_act(p_bank, p_act, asked);
    IF act.act_id IS NOT NULL THEN
        RETURN act;
    END IF;
    act := ROW(p_bank, p_act, p_kind, NULL, NULL, NULL,
               CASE p_kind WHEN 'reissue' THEN giver.owner_id END, NULL, NULL, p_points, p_actor,
               NULL, p_override, NULL, asked, stamp);
    act.status := CASE
        WHEN cardinality(locked.account_ids) IS DISTINCT FROM 2 OR 'points' <> ANY (locked.units)
            OR giver.kind <> CASE p_kind WHEN 'gift' THEN 'wallet'::account_kind
                                         WHEN 'reissue' THEN 'merchant' ELSE 'pool' END
            OR NOT may_move(moves, giver.kind,
                            locked.kinds[array_position(locked.account_ids, p_to)])
            THEN 'account_not_found'::redemption_status
        WHEN p_points NOT BETWEEN 1 AND (1::bigint << 53) - 1 THEN 'amount_out_of_range'
        WHEN p_kind = 'reissue' AND find_agreed_until(p_bank, giver.owner_id, stamp) IS NULL
            THEN 'merchant_not_active' END;
    IF act.status IS NULL THEN
        SELECT fault.status, fault.cap INTO act.status, act.cap
        FROM find_cap_fault(p_bank, caps, p_override, stamp) AS fault;
    END IF;
    act.status := coalesce(act.status, CASE
        WHEN p_points <= stands - count_blocked(p_bank, p_from) THEN 'done'::redemption_status
        WHEN p_points <= stands THEN 'points_blocked'
        WHEN p_kind = 'reissue' THEN 'merchant_lacks_points'
        ELSE 'insufficient_points' END);
    IF act.status = 'done' THEN
        PERFORM add_to_caps(p_bank, caps);
        UPDATE cap_override SET used_by = p_act WHERE (bank_id, override_id) = (p_bank, p_override);
        PERFORM post_redemption(p_bank, NULL, p_actor, ARRAY[p_act], ARRAY[moves], ARRAY[p_from],
                                ARRAY[p_to], ARRAY[p_points]);
    END IF;
    RETURN record_act(act);
END $$;
COMMENT ON FUNCTION give_points IS
    'A gift (wallet), a reissue (merchant) or an allocation (pool), under the cap of the giver''s '
    'day; an allocation has none, but four eyes at the edge.';

CREATE FUNCTION list_persons_behind(p_bank integer, p_party uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    WITH named AS (
        SELECT p_party AS party_id
        UNION
        SELECT member_id FROM family_member
        WHERE bank_id = p_bank AND family_id = p_party
          AND (left_at IS NULL OR left_at > clock_timestamp() - interval '7 days')
        UNION
        SELECT party_id FROM role_grant
        WHERE bank_id = p_bank AND merchant_id = p_party AND revoked_at IS NULL
    )
    SELECT party_id FROM named
    UNION
    SELECT g.guardian_id FROM named n
    JOIN guardianship g ON g.bank_id = p_bank AND g.minor_id = n.party_id
    WHERE g.ended_at IS NULL;
$$;
COMMENT ON FUNCTION list_persons_behind IS
    'Whom it serves now if something is done to what a party owns: the party, a family''s members, '
    'confirmed or not, and for as long as a proposal may wait, 7 days, who left it, for they could '
    'join again; who works for a merchant; and the guardians of all these, also one whose part has '
    'just ended: this keeps people from deciding, and lets nobody in.';

CREATE FUNCTION found_family(p_bank integer, p_family uuid, p_founder uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    SELECT FROM party WHERE (bank_id, party_id) = (p_bank, p_family) FOR NO KEY UPDATE;
    INSERT INTO family_member (bank_id, family_id, member_id, may_hold, confirmed_by, confirmed_at)
    SELECT p_bank, p_family, p_founder, true, p_founder, clock_timestamp()
    WHERE NOT EXISTS (SELECT FROM family_member WHERE bank_id = p_bank AND family_id = p_family);
$$;
COMMENT ON FUNCTION found_family IS
    'Its first member, confirmed, since alone they are kin of nobody; nothing where there was one. '
    'Locks the family''s party.';

CREATE FUNCTION confirm_family_member(
    p_bank integer, p_family uuid, p_member uuid, p_actor uuid
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM family_member
    WHERE bank_id = p_bank AND family_id = p_family AND member_id = p_member AND left_at IS NULL
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    IF p_actor IN (SELECT list_persons_behind(p_bank, p_family)) THEN
        PERFORM refuse('family_confirmed_by_another', 'whom a family serves confirms nobody in it');
    END IF;
    UPDATE family_member SET confirmed_by = p_actor, confirmed_at = clock_timestamp()
    WHERE bank_id = p_bank AND family_id = p_family AND member_id = p_member AND left_at IS NULL
      AND confirmed_at IS NULL;
    RETURN true;
END $$;
COMMENT ON FUNCTION confirm_family_member IS
    'From now on the member is kin of the others there; who confirmed first stays. False if they '
    'are no member; refuses whoever the family serves. Locks the membership.';

GRANT EXECUTE ON FUNCTION list_persons_behind, found_family, confirm_family_member TO timebank_app;
GRANT INSERT (bank_id, family_id, member_id, may_hold) ON family_member TO timebank_app;
GRANT INSERT ON family_invitation, saturation_rule TO timebank_app;
GRANT UPDATE (used_by, used_at) ON family_invitation TO timebank_app;
SELECT make_final('family_member', 'left_at');
GRANT UPDATE (left_at) ON family_member TO timebank_app;
GRANT EXECUTE ON FUNCTION give_points TO timebank_app;


-- ── Labels: what everybody reads holds no number of a person ────────────────────────────────────

CREATE FUNCTION holds_persons_number(p_text text) RETURNS boolean LANGUAGE sql IMMUTABLE
SET search_path = timebank, pg_temp AS $$
    SELECT plain ~ '(^|[^0-9])((\+|00)?86 {0,2})?1[3-9]( {0,2}[0-9]){9}($|[^0-9])'
        OR plain ~ ('(^|[^0-9])[1-9]( {0,2}[0-9]){5} {0,2}(1 {0,2}[89]|2 {0,2}0)( {0,2}[0-9]){2}'
                    ' {0,2}(0 {0,2}[1-9]|1 {0,2}[0-2])'
                    ' {0,2}(0 {0,2}[1-9]|[12] {0,2}[0-9]|3 {0,2}[01])'
                    '( {0,2}[0-9]){3} {0,2}[0-9Xx]($|[^0-9])')
        OR plain ~ ('(^|[^0-9])[1-9][0-9]{7}(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])[0-9]{3}'
                    '($|[^0-9])')
    FROM translate(p_text, '０１２３４５６７８９Ｘｘ－　-.·/,_()\—–‑／，、．（）' || chr(9) || chr(160),
                   '0123456789Xx' || repeat(' ', 22)) AS plain;
$$;
COMMENT ON FUNCTION holds_persons_number IS
    'Whether a text holds what looks like a mobile number (11 digits from 13 to 19) or a resident '
    'identity number of 18 digits, together or with up to two spaces, dashes, dots and the like '
    'between digits, or one of 15 digits; in full width or not. Colons part hours, and count not.';

DO $$
DECLARE
    label record;
BEGIN
    FOR label IN VALUES
        ('bank', '{name}'::text[]), ('community_type', '{name}'), ('branch', '{name}'),
        ('service_point', '{name}'), ('category', '{name}'), ('activity', '{title,insurance_ref}'),
        ('wish', '{title}'), ('honour_title', '{name}'), ('merchant', '{name}'),
        ('agreement', '{reference}'), ('shop', '{name}'), ('offer', '{title}') LOOP
        EXECUTE format('ALTER TABLE timebank.%I ADD CONSTRAINT label_holds_no_persons_number '
            'CHECK (%s)', label.column1, (
                SELECT string_agg(format('NOT timebank.holds_persons_number(%I)', one), ' AND ')
                FROM unnest(label.column2) AS one));
    END LOOP;
END $$;

GRANT EXECUTE ON FUNCTION holds_persons_number TO timebank_app, timebank_auditor;


-- ── Webhooks ────────────────────────────────────────────────────────────────────────────────────
--
-- What happened at a merchant is told to the systems that it named. An act writes its event itself
-- (record_act, close_settlement): rolled back, there is none; committed, it is told, whatever dies.
--
--   event      Ids, points and times, nothing of a person. Its id is made from the act's, so an act
--              has one; it is also the webhook-id, by which receivers know what they had before.
--   delivery   One for each endpoint that asked for the type: waiting -> delivered | given_up, and
--              back to waiting by a replay. Sent at least once, in no promised order.
--   claim      Who sends has claimed it until next_at; whoever dies then has lost nothing but time.
--   lock order Events and deliveries are only inserted by acts, which lock nothing more for them. A
--              claim takes endpoints, then deliveries, and passes over what others have: it waits
--              for nobody. What ends an attempt takes the delivery, then its endpoint; a replay
--              takes events, then deliveries, by their ids, and no endpoint.
--   kept       What is over is forgotten after a while (forget_events); nothing else is deleted.

CREATE TYPE webhook_event_type AS ENUM (
    'redemption.held', 'redemption.captured', 'redemption.released', 'redemption.expired',
    'redemption.refunded', 'settlement.closed',
    'webhook.ping'  -- to one endpoint, because somebody asked for it
);

CREATE TYPE delivery_state AS ENUM ('waiting', 'delivered', 'given_up');

CREATE TYPE attempt_outcome AS ENUM (
    'delivered',        -- answered 2xx; everything else was not
    'refused',          -- another status
    'redirected',       -- 3xx, which is not followed
    'gone',             -- 410: the endpoint wants no more
    'timed_out',
    'name_unknown',     -- the name has no address
    'address_refused',  -- the name has an address that is not public
    'not_connected',
    'not_trusted',      -- the certificate is not good for the name
    'broken_off',       -- no answer, or none that is HTTP
    'not_signed'        -- the secret could not be opened here
);

CREATE TYPE endpoint_end AS ENUM (
    'merchant',  -- by itself
    'staff',     -- said of one that staff stopped; stopped_at keeps it, beside all else
    'gone',      -- it answered 410
    'failing'    -- nothing was delivered for days
);

CREATE TABLE webhook_endpoint (
    bank_id          integer              NOT NULL,
    endpoint_id      uuid                 NOT NULL,
    merchant_id      uuid                 NOT NULL,
    url              text                 NOT NULL CONSTRAINT endpoint_is_https
                                          CHECK (url LIKE 'https://%' AND length(url) <= 500),
    event_types      webhook_event_type[] NOT NULL CONSTRAINT endpoint_asks_for_something
                                          CHECK (cardinality(event_types) > 0
                                                 AND 'webhook.ping' <> ALL (event_types)),
    created_by       uuid                 NOT NULL,
    created_at       timestamptz          NOT NULL DEFAULT clock_timestamp(),
    failing_since    timestamptz,
    disabled_at      timestamptz,
    disabled_because endpoint_end         CONSTRAINT endpoint_stopped_beside_the_rest
                                          CHECK (disabled_because <> 'staff'),
    stopped_at       timestamptz,
    PRIMARY KEY (bank_id, endpoint_id),
    CONSTRAINT endpoint_disabled_for_a_reason
        CHECK ((disabled_at IS NULL) = (disabled_because IS NULL))
);
CREATE INDEX webhook_endpoint_of_merchant ON webhook_endpoint (bank_id, merchant_id, endpoint_id);
COMMENT ON TABLE webhook_endpoint IS 'Where a merchant''s system wants to be told, and of what.';
COMMENT ON COLUMN webhook_endpoint.url IS 'May hold a secret of the merchant''s: it is in no log.';
COMMENT ON COLUMN webhook_endpoint.failing_since IS 'First failure since the last delivery.';
COMMENT ON COLUMN webhook_endpoint.stopped_at IS
    'Since when staff have it stopped, who alone lift that. Nothing is told while it is stopped or '
    'disabled: neither ends the other.';

CREATE TABLE webhook_secret (
    bank_id        integer     NOT NULL,
    endpoint_id    uuid        NOT NULL,
    secret_id      uuid        NOT NULL,
    sealed_secret  bytea       NOT NULL,
    made_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at        timestamptz NOT NULL DEFAULT 'infinity',
    PRIMARY KEY (bank_id, endpoint_id, secret_id)
);
COMMENT ON TABLE webhook_secret IS
    'What an endpoint is signed with, 32 random bytes: the latest, and those before until they '
    'end, so that a rotation needs no pause, nor one whose answer was lost.';
SELECT make_sealed('webhook_secret', 'sealed_secret', $$
    format('timebank webhook secret|%s|%s', bank_id, endpoint_id)
$$);

CREATE TABLE webhook_event (
    bank_id      integer            NOT NULL,
    event_id     uuid               NOT NULL,
    number       bigint             NOT NULL GENERATED BY DEFAULT AS IDENTITY,
    merchant_id  uuid               NOT NULL,
    type         webhook_event_type NOT NULL,
    occurred_at  timestamptz        NOT NULL,
    data         jsonb              NOT NULL,
    CONSTRAINT event_noted_once PRIMARY KEY (bank_id, event_id)
);
CREATE INDEX webhook_event_of_merchant ON webhook_event (bank_id, merchant_id, number);
CREATE INDEX webhook_event_by_time ON webhook_event (bank_id, occurred_at);
COMMENT ON TABLE webhook_event IS
    'What happened at a merchant who has an endpoint for it: the outbox. Never edited.';
COMMENT ON COLUMN webhook_event.number IS 'In the order of writing; commits may come otherwise.';

CREATE TABLE webhook_delivery (
    bank_id       integer        NOT NULL,
    endpoint_id   uuid           NOT NULL,
    event_id      uuid           NOT NULL,
    state         delivery_state NOT NULL DEFAULT 'waiting',
    attempts      integer        NOT NULL DEFAULT 0,
    tries         integer        NOT NULL DEFAULT 0,
    next_at       timestamptz    NOT NULL DEFAULT clock_timestamp(),
    claim         uuid,
    delivered_at  timestamptz,
    CONSTRAINT delivery_of_an_event_once PRIMARY KEY (bank_id, endpoint_id, event_id),
    CONSTRAINT delivery_claimed_while_waiting CHECK (claim IS NULL OR state = 'waiting')
) WITH (fillfactor = 70);
CREATE INDEX webhook_delivery_due ON webhook_delivery (bank_id, endpoint_id, next_at)
    WHERE state = 'waiting';
CREATE INDEX webhook_delivery_claimed ON webhook_delivery (bank_id, endpoint_id)
    WHERE claim IS NOT NULL;
CREATE INDEX webhook_delivery_of_event ON webhook_delivery (bank_id, event_id);
COMMENT ON TABLE webhook_delivery IS 'How far an event came at an endpoint.';
COMMENT ON COLUMN webhook_delivery.attempts IS 'Begun ever; one that has no answer was cut off.';
COMMENT ON COLUMN webhook_delivery.tries IS 'Begun since it was new or replayed.';
COMMENT ON COLUMN webhook_delivery.next_at IS 'When it is due; while claimed, until when.';

CREATE TABLE webhook_attempt (
    bank_id       integer         NOT NULL,
    endpoint_id   uuid            NOT NULL,
    event_id      uuid            NOT NULL,
    number        integer         NOT NULL,
    attempted_at  timestamptz     NOT NULL,
    duration_ms   integer         NOT NULL,
    outcome       attempt_outcome NOT NULL,
    status        smallint,
    CONSTRAINT attempt_ended_once PRIMARY KEY (bank_id, endpoint_id, event_id, number)
);
COMMENT ON TABLE webhook_attempt IS
    'Each attempt and how it ended; of an answer only the status, and nothing else. Never edited.';

CREATE TRIGGER webhook_event_is_never_edited BEFORE UPDATE OR TRUNCATE ON webhook_event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
CREATE TRIGGER webhook_attempt_is_never_edited BEFORE UPDATE OR TRUNCATE ON webhook_attempt
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_edit();
ALTER TABLE webhook_event ENABLE ALWAYS TRIGGER webhook_event_is_never_edited;
ALTER TABLE webhook_attempt ENABLE ALWAYS TRIGGER webhook_attempt_is_never_edited;


-- Outbox

CREATE FUNCTION utc_text(p_at timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"');
$$;
COMMENT ON FUNCTION utc_text IS 'An instant as RFC 3339, whatever the session''s time zone.';

CREATE FUNCTION note_event(
    p_bank integer, p_merchant uuid, p_subject uuid, p_type webhook_event_type, p_at timestamptz,
    p_data jsonb
) RETURNS void LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
DECLARE
    event  uuid := derive_uuid(p_subject, p_type::text);
BEGIN
    INSERT INTO webhook_event (bank_id, event_id, merchant_id, type, occurred_at, data)
    SELECT p_bank, event, p_merchant, p_type, p_at, p_data
    WHERE EXISTS (SELECT FROM webhook_endpoint
                  WHERE bank_id = p_bank AND merchant_id = p_merchant
                    AND p_type = ANY (event_types));
    INSERT INTO webhook_delivery (bank_id, endpoint_id, event_id)
    SELECT p_bank, endpoint_id, event FROM webhook_endpoint
    WHERE FOUND AND bank_id = p_bank AND merchant_id = p_merchant
      AND coalesce(stopped_at, disabled_at) IS NULL
      AND p_type = ANY (event_types);
END $$;
COMMENT ON FUNCTION note_event IS
    'Writes an event if an endpoint asks for its type, and a delivery for each that is enabled; '
    'those that are not may have it replayed.';

CREATE FUNCTION note_act(p_act redemption_act) RETURNS void
LANGUAGE plpgsql SET search_path = timebank, pg_temp AS $$
BEGIN
    IF p_act.hold_id IS NULL OR NOT EXISTS (
        SELECT FROM webhook_endpoint
        WHERE bank_id = p_act.bank_id AND merchant_id = p_act.merchant_id) THEN
        RETURN;
    END IF;
    PERFORM note_event(
        p_act.bank_id, p_act.merchant_id, p_act.act_id,
        CASE p_act.kind WHEN 'hold' THEN 'redemption.held'::webhook_event_type
                        WHEN 'capture' THEN 'redemption.captured'
                        WHEN 'release' THEN 'redemption.released'
                        WHEN 'expire' THEN 'redemption.expired'
                        WHEN 'refund' THEN 'redemption.refunded' END,
        p_act.recorded_at,
        jsonb_build_object(
            'act_id', p_act.act_id, 'hold_id', p_act.hold_id, 'merchant_id', p_act.merchant_id,
            'offer_id', p_act.offer_id, 'quantity', p_act.quantity, 'points', p_act.points,
            'shop_id', (SELECT shop_id FROM hold
                        WHERE (bank_id, hold_id) = (p_act.bank_id, p_act.hold_id)))
        || CASE WHEN p_act.kind = 'hold'
                THEN jsonb_build_object('expires_at', utc_text(p_act.expires_at))
                WHEN p_act.kind IN ('release', 'refund')
                THEN jsonb_build_object('reason', p_act.reason)
                ELSE '{}' END);
END $$;
COMMENT ON FUNCTION note_act IS
    'The event of an act that was done on a hold. One probe of an index where nobody listens.';

CREATE FUNCTION note_settlement(p_closed settlement) RETURNS void
LANGUAGE sql SET search_path = timebank, pg_temp AS $$
    SELECT note_event(
        p_closed.bank_id, p_closed.merchant_id, p_closed.settlement_id, 'settlement.closed',
        p_closed.closed_at,
        jsonb_build_object(
            'settlement_id', p_closed.settlement_id, 'merchant_id', p_closed.merchant_id,
            'number', p_closed.number, 'cut_off', utc_text(p_closed.cut_off),
            'first_seq', p_closed.first_seq, 'last_seq', p_closed.last_seq,
            'captured', p_closed.captured, 'refunded', p_closed.refunded,
            'reissued', p_closed.reissued, 'carried_in', p_closed.carried_in,
            'paid', p_closed.paid, 'carried_out', p_closed.carried_out, 'fen', p_closed.fen));
$$;
COMMENT ON FUNCTION note_settlement IS 'The event of a settlement that was closed.';


-- Endpoints

CREATE FUNCTION open_endpoint(
    p_bank integer, p_endpoint uuid, p_merchant uuid, p_url text, p_types webhook_event_type[],
    p_secret uuid, p_sealed bytea, p_actor uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM FROM merchant WHERE (bank_id, merchant_id) = (p_bank, p_merchant) FOR NO KEY UPDATE;
    IF (SELECT count(*) FROM webhook_endpoint
        WHERE bank_id = p_bank AND merchant_id = p_merchant) >= 10 THEN
        PERFORM refuse('endpoints_are_few', 'a merchant has ten endpoints at most');
    END IF;
    IF EXISTS (SELECT FROM webhook_endpoint WHERE bank_id = p_bank AND merchant_id = p_merchant
                                              AND stopped_at IS NOT NULL) THEN
        PERFORM refuse('no_endpoint_is_stopped', 'staff disabled an endpoint of the merchant');
    END IF;
    INSERT INTO webhook_endpoint (bank_id, endpoint_id, merchant_id, url, event_types, created_by)
    VALUES (p_bank, p_endpoint, p_merchant, p_url, p_types, p_actor);
    INSERT INTO webhook_secret (bank_id, endpoint_id, secret_id, sealed_secret)
    VALUES (p_bank, p_endpoint, p_secret, p_sealed);
END $$;
COMMENT ON FUNCTION open_endpoint IS
    'A new endpoint, of ten at most, and none while staff disabled one; locks the merchant''s row, '
    'so that they take turns.';

CREATE FUNCTION rotate_webhook_secret(
    p_bank integer, p_endpoint uuid, p_secret uuid, p_sealed bytea, p_overlap interval
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    stamp  timestamptz := clock_timestamp();
BEGIN
    PERFORM FROM webhook_endpoint
    WHERE (bank_id, endpoint_id) = (p_bank, p_endpoint) FOR NO KEY UPDATE;
    DELETE FROM webhook_secret
    WHERE bank_id = p_bank AND endpoint_id = p_endpoint
      AND (ends_at <= stamp OR secret_id NOT IN (
          SELECT secret_id FROM webhook_secret
          WHERE bank_id = p_bank AND endpoint_id = p_endpoint
          ORDER BY made_at DESC LIMIT 3));
    UPDATE webhook_secret SET ends_at = least(ends_at, stamp + p_overlap)
    WHERE bank_id = p_bank AND endpoint_id = p_endpoint;
    INSERT INTO webhook_secret (bank_id, endpoint_id, secret_id, sealed_secret)
    VALUES (p_bank, p_endpoint, p_secret, p_sealed);
END $$;
COMMENT ON FUNCTION rotate_webhook_secret IS
    'A new secret; those before, three at most, sign beside it for p_overlap more and no longer.';

CREATE FUNCTION ping_endpoint(p_bank integer, p_endpoint uuid, p_event uuid) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    told    webhook_endpoint;
    before  uuid;
BEGIN
    SELECT * INTO told FROM webhook_endpoint
    WHERE (bank_id, endpoint_id) = (p_bank, p_endpoint) FOR NO KEY UPDATE;
    IF coalesce(told.stopped_at, told.disabled_at) IS NOT NULL THEN
        PERFORM refuse('endpoint_is_enabled', 'the endpoint is disabled');
    END IF;
    SELECT d.event_id INTO before
    FROM webhook_delivery d JOIN webhook_event e USING (bank_id, event_id)
    WHERE d.bank_id = p_bank AND d.endpoint_id = p_endpoint AND d.state = 'waiting'
      AND e.type = 'webhook.ping' LIMIT 1;
    IF FOUND THEN
        RETURN before;
    END IF;
    INSERT INTO webhook_event (bank_id, event_id, merchant_id, type, occurred_at, data)
    VALUES (p_bank, p_event, told.merchant_id, 'webhook.ping', clock_timestamp(),
            jsonb_build_object('endpoint_id', p_endpoint));
    INSERT INTO webhook_delivery (bank_id, endpoint_id, event_id)
    VALUES (p_bank, p_endpoint, p_event);
    RETURN p_event;
END $$;
COMMENT ON FUNCTION ping_endpoint IS
    'Sends an event to try an endpoint, one at a time: while one waits, that one is answered.';

CREATE FUNCTION replay_deliveries(
    p_bank integer, p_endpoint uuid, p_event uuid, p_since timestamptz
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    told   webhook_endpoint;
    again  bigint;
BEGIN
    SELECT * INTO told FROM webhook_endpoint
    WHERE (bank_id, endpoint_id) = (p_bank, p_endpoint);
    IF coalesce(told.stopped_at, told.disabled_at) IS NOT NULL THEN
        PERFORM refuse('endpoint_is_enabled', 'the endpoint is disabled');
    END IF;
    INSERT INTO webhook_delivery AS d (bank_id, endpoint_id, event_id)
    SELECT p_bank, p_endpoint, e.event_id
    FROM webhook_event e LEFT JOIN webhook_delivery had
         ON (had.bank_id, had.endpoint_id, had.event_id) = (p_bank, p_endpoint, e.event_id)
    WHERE e.bank_id = p_bank AND e.merchant_id = told.merchant_id
      AND (e.type = ANY (told.event_types) OR had.event_id IS NOT NULL)
      AND (e.event_id = p_event OR e.type <> 'webhook.ping' AND e.occurred_at >= p_since)
    ORDER BY e.event_id FOR KEY SHARE OF e
    ON CONFLICT (bank_id, endpoint_id, event_id) DO UPDATE
    SET state = 'waiting', tries = 0, next_at = clock_timestamp(), delivered_at = NULL
    WHERE d.state <> 'waiting';
    GET DIAGNOSTICS again = ROW_COUNT;
    RETURN again;
END $$;
COMMENT ON FUNCTION replay_deliveries IS
    'Sends one event, or all since an instant, to an endpoint once more, or for the first time if '
    'it was disabled then; what waits already is left alone. Returns how many.';


-- Delivery

CREATE FUNCTION claim_deliveries(
    p_bank integer, p_limit integer, p_each integer, p_lease interval
) RETURNS TABLE (
    endpoint_id uuid, event_id uuid, type webhook_event_type, occurred_at timestamptz, data jsonb,
    url text, sealed_secrets bytea[], attempt integer, tries integer, claim uuid
) LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    told    webhook_endpoint;
    stamp   timestamptz := clock_timestamp();
    taking  uuid := gen_random_uuid();
    room    integer := p_limit;
    taken   integer;
BEGIN
    FOR told IN
        SELECT * FROM webhook_endpoint e
        WHERE bank_id = p_bank AND coalesce(stopped_at, disabled_at) IS NULL AND EXISTS (
            SELECT FROM webhook_delivery d
            WHERE d.bank_id = p_bank AND d.endpoint_id = e.endpoint_id
              AND d.state = 'waiting' AND d.next_at <= stamp)
        ORDER BY random() FOR NO KEY UPDATE OF e SKIP LOCKED
    LOOP
        EXIT WHEN room <= 0;
        RETURN QUERY
        WITH due AS (
            SELECT d.event_id FROM webhook_delivery d
            WHERE d.bank_id = p_bank AND d.endpoint_id = told.endpoint_id
              AND d.state = 'waiting' AND d.next_at <= stamp
            ORDER BY d.next_at
            LIMIT greatest(0, least(room, p_each - (
                SELECT count(*) FROM webhook_delivery c
                WHERE c.bank_id = p_bank AND c.endpoint_id = told.endpoint_id
                  AND c.claim IS NOT NULL AND c.next_at > stamp)))
            FOR NO KEY UPDATE SKIP LOCKED
        ), claimed AS (
            UPDATE webhook_delivery d
            SET attempts = d.attempts + 1, tries = d.tries + 1, claim = taking,
                next_at = stamp + p_lease
            FROM due WHERE d.bank_id = p_bank AND d.endpoint_id = told.endpoint_id
                       AND d.event_id = due.event_id
            RETURNING d.event_id, d.attempts, d.tries
        )
        SELECT told.endpoint_id, c.event_id, e.type, e.occurred_at, e.data, told.url,
               array(SELECT sealed_secret FROM webhook_secret s
                     WHERE s.bank_id = p_bank AND s.endpoint_id = told.endpoint_id
                       AND s.ends_at > stamp ORDER BY s.made_at DESC),
               c.attempts, c.tries, taking
        FROM claimed c JOIN webhook_event e ON (e.bank_id, e.event_id) = (p_bank, c.event_id);
        GET DIAGNOSTICS taken = ROW_COUNT;
        room := room - taken;
    END LOOP;
END $$;
COMMENT ON FUNCTION claim_deliveries IS
    'What is due, p_limit in all and never more than p_each under way at an endpoint, so that a '
    'slow one does not hold up the others; whose it is by claim until the lease is over.';

CREATE FUNCTION finish_attempt(
    p_bank integer, p_endpoint uuid, p_event uuid, p_claim uuid, p_number integer,
    p_attempted_at timestamptz, p_duration_ms integer, p_outcome attempt_outcome, p_status smallint,
    p_wait interval
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    stamp  timestamptz := clock_timestamp();
BEGIN
    PERFORM FROM webhook_delivery
    WHERE (bank_id, endpoint_id, event_id) = (p_bank, p_endpoint, p_event) FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    INSERT INTO webhook_attempt
    VALUES (p_bank, p_endpoint, p_event, p_number, p_attempted_at, p_duration_ms, p_outcome,
            p_status)
    ON CONFLICT DO NOTHING;
    IF p_outcome = 'delivered' THEN
        UPDATE webhook_delivery SET state = 'delivered', delivered_at = stamp, claim = NULL
        WHERE (bank_id, endpoint_id, event_id) = (p_bank, p_endpoint, p_event)
          AND state <> 'delivered';
        UPDATE webhook_endpoint SET failing_since = NULL
        WHERE (bank_id, endpoint_id) = (p_bank, p_endpoint) AND failing_since IS NOT NULL;
        RETURN;
    END IF;
    UPDATE webhook_delivery
    SET claim = NULL, next_at = coalesce(stamp + p_wait, next_at),
        state = CASE WHEN p_wait IS NULL THEN 'given_up'::delivery_state ELSE state END
    WHERE (bank_id, endpoint_id, event_id) = (p_bank, p_endpoint, p_event) AND claim = p_claim;
    UPDATE webhook_endpoint
    SET failing_since = coalesce(failing_since, p_attempted_at),
        disabled_at = coalesce(disabled_at, CASE
            WHEN p_outcome = 'gone' OR p_wait IS NULL AND failing_since < stamp - interval '3 days'
            THEN stamp END),
        disabled_because = coalesce(disabled_because, CASE
            WHEN p_outcome = 'gone' THEN 'gone'::endpoint_end
            WHEN p_wait IS NULL AND failing_since < stamp - interval '3 days' THEN 'failing' END)
    WHERE (bank_id, endpoint_id) = (p_bank, p_endpoint) AND p_outcome <> 'not_signed';
END $$;
COMMENT ON FUNCTION finish_attempt IS
    'How an attempt ended; p_wait is until the next, null: it is given up. Delivered counts '
    'whoever has the claim by now. 410 disables the endpoint, and so does an event given up when '
    'nothing was delivered for three days; what we could not sign is no failure of the endpoint.';

CREATE FUNCTION put_off_delivery(
    p_bank integer, p_endpoint uuid, p_event uuid, p_claim uuid, p_wait interval
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
    UPDATE webhook_delivery
    SET claim = NULL, tries = tries - 1, next_at = clock_timestamp() + p_wait
    WHERE (bank_id, endpoint_id, event_id) = (p_bank, p_endpoint, p_event) AND claim = p_claim;
$$;
COMMENT ON FUNCTION put_off_delivery IS
    'Gives a claim back, which then was no try: who claimed it has not the key to sign with.';

CREATE FUNCTION forget_events(p_bank integer, p_before timestamptz, p_limit integer)
RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET enable_seqscan = off AS $$
DECLARE
    gone    uuid[] := array(
        SELECT event_id FROM webhook_event e
        WHERE bank_id = p_bank
          AND occurred_at < least(p_before, clock_timestamp() - interval '7 days')
          AND NOT EXISTS (SELECT FROM webhook_delivery d JOIN webhook_endpoint
                          USING (bank_id, endpoint_id)
                          WHERE d.bank_id = p_bank AND d.event_id = e.event_id
                            AND d.state = 'waiting'
                            AND coalesce(stopped_at, disabled_at) IS NULL)
        ORDER BY occurred_at LIMIT p_limit FOR UPDATE SKIP LOCKED);
    many    bigint;
BEGIN
    DELETE FROM webhook_attempt a USING webhook_delivery d
    WHERE d.bank_id = p_bank AND d.event_id = ANY (gone)
      AND (a.bank_id, a.endpoint_id, a.event_id) = (p_bank, d.endpoint_id, d.event_id);
    DELETE FROM webhook_delivery WHERE bank_id = p_bank AND event_id = ANY (gone);
    DELETE FROM webhook_event WHERE bank_id = p_bank AND event_id = ANY (gone);
    GET DIAGNOSTICS many = ROW_COUNT;
    RETURN many;
END $$;
COMMENT ON FUNCTION forget_events IS
    'Forgets events of before an instant, never of the last 7 days, with their deliveries and '
    'attempts, but for those that still wait at an enabled endpoint. Returns how many.';

GRANT UPDATE (url, event_types, disabled_at, disabled_because, stopped_at, failing_since)
    ON webhook_endpoint TO timebank_app;
GRANT EXECUTE ON FUNCTION
    open_endpoint, rotate_webhook_secret, ping_endpoint, replay_deliveries, claim_deliveries,
    finish_attempt, put_off_delivery, forget_events TO timebank_app;


-- ── Vault ───────────────────────────────────────────────────────────────────────────────────────
--
-- Personal data, sealed before it comes here: each field under the person's own data key, each
-- data key under a master key that no database ever sees. The owner of this schema is a role of its
-- own; nobody else has any right on a table here. What reads a field, a key or an index writes the
-- access log in the same call, also when there was nothing to read.
-- lock order   master_key rows for share, then persons by person_id.

GRANT USAGE ON SCHEMA timebank TO timebank_vault;
GRANT EXECUTE ON FUNCTION refuse_edit, erase_party, count_sealed TO timebank_vault;
GRANT SELECT (bank_id, time_zone) ON bank TO timebank_vault;
RESET ROLE;

CREATE SCHEMA vault AUTHORIZATION timebank_vault;
SET ROLE timebank_vault;
SET search_path = vault;

CREATE TYPE purpose AS ENUM (
    'registration',    -- entering somebody, looking for duplicates, deciding on a membership
    'identification',  -- knowing somebody who stands at the counter
    'contact',
    'certificate',
    'age_rule',        -- whether a minor may do something alone
    'correction',
    'report',          -- figures without names, such as the mix of ages
    'subject_access',  -- the person's own wish: a copy, a correction, erasure
    'legal_duty',
    'key_rotation'
);
COMMENT ON TYPE purpose IS 'Why personal data is used; nobody reads without one.';

CREATE TYPE access_act AS ENUM (
    'register', 'read', 'look_up', 'export', 'correct', 'freeze', 'unfreeze', 'erase', 'rewrap'
);

CREATE TYPE access_outcome AS ENUM ('done', 'absent', 'frozen', 'erased');

CREATE TYPE key_state AS ENUM (
    'current',   -- seals what is new
    'retiring',  -- still opens what was not wrapped anew yet
    'retired'
);

CREATE TABLE master_key (
    bank_id     integer     NOT NULL,
    key_id      text        NOT NULL
                            CONSTRAINT master_key_id_plain CHECK (key_id ~ '^[0-9a-f]{16}$'),
    state       key_state   NOT NULL,
    adopted_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, key_id)
);
COMMENT ON TABLE master_key IS 'Which master keys this bank''s data was sealed with, by name only.';
CREATE UNIQUE INDEX master_key_one_current ON master_key (bank_id) WHERE state = 'current';

CREATE TABLE person (
    bank_id       integer     NOT NULL,
    person_id     uuid        NOT NULL,
    key_id        text,
    wrapped_key   bytea,
    opened_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    frozen_at     timestamptz,
    retain_until  date,
    erased_at     timestamptz,
    PRIMARY KEY (bank_id, person_id),
    CONSTRAINT person_erased_when_key_is_gone CHECK (
        (erased_at IS NULL) = (wrapped_key IS NOT NULL) AND
        (erased_at IS NULL) = (key_id IS NOT NULL))
);
COMMENT ON TABLE person IS 'A person (party_id) and the data key of their fields, wrapped.';
COMMENT ON COLUMN person.retain_until IS 'The last local day on which a law asks to keep the data.';
CREATE INDEX person_of_key ON person (bank_id, key_id);

CREATE TABLE field (
    bank_id    integer NOT NULL,
    person_id  uuid    NOT NULL,
    field      text    NOT NULL CONSTRAINT field_name_plain CHECK (field ~ '^[a-z][a-z_]{0,39}$'),
    version    integer NOT NULL,
    sealed     bytea   NOT NULL,
    PRIMARY KEY (bank_id, person_id, field)
);
COMMENT ON TABLE field IS
    'A field sealed with AES-256-GCM: nonce, ciphertext, tag; bound to bank, person, field and '
    'version. A correction overwrites it.';

CREATE TABLE blind_index (
    bank_id    integer NOT NULL,
    field      text    NOT NULL,
    key_id     text    NOT NULL,
    digest     bytea   NOT NULL,
    person_id  uuid    NOT NULL,
    PRIMARY KEY (bank_id, field, key_id, digest, person_id),
    CONSTRAINT blind_index_is_sha256 CHECK (length(digest) = 32)
);
COMMENT ON TABLE blind_index IS
    'HMAC-SHA256 of a normalised value under a key derived from the master key: finds, tells '
    'nothing.';
CREATE UNIQUE INDEX person_registered_once ON blind_index (bank_id, field, key_id, digest)
    WHERE field IN ('id_document', 'import_ref');
CREATE INDEX blind_index_of_person ON blind_index (bank_id, person_id);

CREATE TABLE access_log (
    bank_id     integer        NOT NULL,
    entry_id    uuid           NOT NULL DEFAULT gen_random_uuid(),
    reader_id   uuid           NOT NULL,
    act         access_act     NOT NULL,
    person_id   uuid,
    fields      text[]         NOT NULL,
    purpose     purpose        NOT NULL,
    outcome     access_outcome NOT NULL,
    request_id  text           NOT NULL
                               CONSTRAINT access_request_id_short
                               CHECK (length(request_id) BETWEEN 1 AND 255),
    made_at     timestamptz    NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, entry_id),
    CONSTRAINT access_names_person CHECK (
        person_id IS NOT NULL OR act = 'look_up' AND outcome = 'absent')
);
COMMENT ON TABLE access_log IS
    'Who used whose data, which fields, what for, in which request. Append-only.';
CREATE INDEX access_log_of_person ON access_log (bank_id, person_id, made_at);
CREATE TRIGGER access_log_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON access_log
    FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_edit();
ALTER TABLE access_log ENABLE ALWAYS TRIGGER access_log_is_append_only;

CREATE FUNCTION outlives_freeze(p_purpose purpose) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_purpose IN ('subject_access', 'legal_duty', 'key_rotation');
$$;
COMMENT ON FUNCTION outlives_freeze IS 'What frozen data may still be read for (PIPL 47).';

CREATE FUNCTION find_outcome(p_person person, p_purpose purpose) RETURNS access_outcome
LANGUAGE sql STABLE SET search_path = vault, pg_temp AS $$
    SELECT CASE WHEN p_person.person_id IS NULL THEN 'absent'
                WHEN p_person.erased_at IS NOT NULL THEN 'erased'
                WHEN p_person.frozen_at IS NOT NULL AND NOT outlives_freeze(p_purpose) THEN 'frozen'
                ELSE 'done' END::access_outcome;
$$;
COMMENT ON FUNCTION find_outcome IS 'Whether a person''s data may be used for this.';

CREATE FUNCTION hold_master_keys(p_bank integer, p_first text) RETURNS SETOF text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    INSERT INTO master_key (bank_id, key_id, state)
    SELECT p_bank, p_first, 'current' WHERE p_first IS NOT NULL
    ON CONFLICT DO NOTHING;
    PERFORM FROM master_key WHERE bank_id = p_bank FOR SHARE;
    RETURN QUERY SELECT key_id FROM master_key  -- anew: a rotation may just have begun
    WHERE bank_id = p_bank AND state <> 'retired' ORDER BY state, key_id;
END $$;
COMMENT ON FUNCTION hold_master_keys IS
    'The keys in use, the current one first; p_first, if given, where there were none. Until the '
    'end of the transaction none is taken out of use and no other becomes current.';

CREATE FUNCTION hold_seal_key(p_bank integer, p_key text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    INSERT INTO master_key (bank_id, key_id, state)
    SELECT p_bank, p_key, CASE WHEN EXISTS (SELECT FROM master_key
                                            WHERE bank_id = p_bank AND state = 'current')
                               THEN 'retiring' ELSE 'current' END::key_state
    WHERE p_key ~ '^[0-9a-f]{16}$'
      AND NOT EXISTS (SELECT FROM master_key WHERE (bank_id, key_id) = (p_bank, p_key))
    ON CONFLICT DO NOTHING;
    PERFORM FROM master_key
    WHERE bank_id = p_bank AND key_id = p_key AND state <> 'retired' FOR SHARE;
    RETURN FOUND;
END $$;
COMMENT ON FUNCTION hold_seal_key IS
    'Whether the key is in use, and it stays so until the end of the transaction. One that the '
    'bank has never seen, put first in the file by hand, comes into use; a rotation adopts it.';

CREATE FUNCTION is_current_key(p_bank integer, p_key text) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    SELECT EXISTS (SELECT FROM master_key
                   WHERE (bank_id, key_id, state) = (p_bank, p_key, 'current'));
$$;
COMMENT ON FUNCTION is_current_key IS 'Whether this is the key that the bank seals with now.';

CREATE FUNCTION add_persons(
    p_bank integer, p_persons uuid[], p_key text, p_wrapped bytea[],
    p_owners uuid[], p_fields text[], p_sealed bytea[],
    p_found uuid[], p_index_fields text[], p_index_keys text[], p_digests bytea[],
    p_reader uuid, p_purpose purpose, p_request text
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM master_key
                   WHERE (bank_id, key_id, state) = (p_bank, p_key, 'current')) THEN
        RAISE EXCEPTION 'new data is sealed with the current master key'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'vault_key_is_current';
    END IF;
    INSERT INTO person (bank_id, person_id, key_id, wrapped_key)
    SELECT p_bank, id, p_key, wrapped FROM unnest(p_persons, p_wrapped) AS r(id, wrapped)
    ORDER BY id;
    INSERT INTO field (bank_id, person_id, field, version, sealed)
    SELECT p_bank, id, name, 1, sealed FROM unnest(p_owners, p_fields, p_sealed)
        AS r(id, name, sealed);
    INSERT INTO blind_index (bank_id, field, key_id, digest, person_id)
    SELECT p_bank, name, key, digest, id
    FROM unnest(p_found, p_index_fields, p_index_keys, p_digests) AS r(id, name, key, digest)
    ORDER BY name, key, digest;
    INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                            request_id)
    SELECT p_bank, p_reader, 'register', id, array_remove(array_agg(name ORDER BY name), NULL),
           p_purpose, 'done', p_request
    FROM unnest(p_persons) AS id LEFT JOIN unnest(p_owners, p_fields) AS r(owner, name)
         ON owner = id
    GROUP BY id;
END $$;
COMMENT ON FUNCTION add_persons IS
    'Persons with a data key each, their fields (p_owners says whose), and what they are found by.';

CREATE FUNCTION read_fields(
    p_bank integer, p_persons uuid[], p_fields text[], p_export boolean,
    p_reader uuid, p_purpose purpose, p_request text
) RETURNS TABLE (person_id uuid, outcome access_outcome, key_id text, wrapped_key bytea,
                 field text, version integer, sealed bytea)
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    WITH asked AS (
        SELECT id, find_outcome(p, p_purpose) AS outcome, p.key_id, p.wrapped_key
        FROM (SELECT DISTINCT id FROM unnest(p_persons) AS id) AS a
        LEFT JOIN person p ON p.bank_id = p_bank AND p.person_id = id
    ), logged AS (
        INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                                request_id)
        SELECT p_bank, p_reader, CASE WHEN p_export THEN 'export' ELSE 'read' END::access_act, id,
               p_fields, p_purpose, asked.outcome, p_request
        FROM asked
    )
    SELECT id, asked.outcome, asked.key_id, asked.wrapped_key, f.field, f.version, f.sealed
    FROM asked
    LEFT JOIN field f ON asked.outcome = 'done' AND f.bank_id = p_bank AND f.person_id = id
                     AND f.field = ANY (p_fields)
    ORDER BY id, f.field;
$$;
COMMENT ON FUNCTION read_fields IS
    'Sealed fields and the wrapped keys to them, one row at least for each person asked for, and a '
    'line in the log for each.';

CREATE FUNCTION find_persons(
    p_bank integer, p_fields text[], p_keys text[], p_digests bytea[], p_places integer[],
    p_reader uuid, p_purpose purpose, p_request text
) RETURNS TABLE (place integer, person_id uuid)
LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    WITH found AS (
        SELECT DISTINCT r.place, r.field, i.person_id
        FROM unnest(p_fields, p_keys, p_digests, p_places) AS r(field, key, digest, place)
        CROSS JOIN LATERAL (  -- a probe for each, also while the tables have no statistics
            SELECT * FROM blind_index
            WHERE bank_id = p_bank AND field = r.field AND key_id = r.key AND digest = r.digest
            LIMIT 1000) AS i
        CROSS JOIN LATERAL (
            SELECT * FROM person
            WHERE bank_id = p_bank AND person.person_id = i.person_id LIMIT 1) AS p
        WHERE find_outcome(p::person, p_purpose) = 'done' OR p_purpose = 'registration'
    ), logged AS (
        INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                                request_id)
        SELECT p_bank, p_reader, 'look_up'::access_act, f.person_id, array_agg(DISTINCT f.field),
               p_purpose, 'done'::access_outcome, p_request
        FROM found f GROUP BY f.person_id
        UNION ALL
        SELECT p_bank, p_reader, 'look_up', NULL, array(SELECT DISTINCT unnest(p_fields)),
               p_purpose, 'absent', p_request
        WHERE NOT EXISTS (SELECT FROM found)
    )
    SELECT f.place, f.person_id FROM found f ORDER BY f.place, f.person_id;
$$;
COMMENT ON FUNCTION find_persons IS
    'Who has one of these digests, at most 1000 for each; p_places says which question each '
    'belongs to. Whoever registers finds the frozen too.';

CREATE FUNCTION open_for_correction(
    p_bank integer, p_person uuid, p_fields text[], p_reader uuid, p_purpose purpose,
    p_request text
) RETURNS TABLE (outcome access_outcome, key_id text, wrapped_key bytea, field text,
                 version integer)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
#variable_conflict use_column
DECLARE
    held person;
    said access_outcome;
BEGIN
    SELECT * INTO held FROM person WHERE (bank_id, person_id) = (p_bank, p_person) FOR UPDATE;
    said := find_outcome(held, p_purpose);
    INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                            request_id)
    VALUES (p_bank, p_reader, 'correct', p_person, p_fields, p_purpose, said, p_request);
    RETURN QUERY
    SELECT said, held.key_id, held.wrapped_key, name, coalesce(f.version, 0)
    FROM unnest(p_fields) AS name
    LEFT JOIN field f ON (f.bank_id, f.person_id, f.field) = (p_bank, p_person, name);
END $$;
COMMENT ON FUNCTION open_for_correction IS
    'The wrapped key and the versions that new values follow. Locks the person.';

CREATE FUNCTION replace_fields(
    p_bank integer, p_person uuid, p_fields text[], p_versions integer[], p_sealed bytea[],
    p_index_fields text[], p_index_keys text[], p_digests bytea[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    DELETE FROM blind_index
    WHERE bank_id = p_bank AND person_id = p_person AND field = ANY (p_fields);
    INSERT INTO field (bank_id, person_id, field, version, sealed)
    SELECT p_bank, p_person, name, version, sealed
    FROM unnest(p_fields, p_versions, p_sealed) AS r(name, version, sealed)
    ON CONFLICT (bank_id, person_id, field) DO UPDATE
    SET version = EXCLUDED.version, sealed = EXCLUDED.sealed
    WHERE field.version < EXCLUDED.version;
    INSERT INTO blind_index (bank_id, field, key_id, digest, person_id)
    SELECT p_bank, name, key, digest, p_person
    FROM unnest(p_index_fields, p_index_keys, p_digests) AS r(name, key, digest);
END $$;
COMMENT ON FUNCTION replace_fields IS
    'Overwrites fields after open_for_correction in the same transaction; nothing is read.';

CREATE FUNCTION set_freeze(
    p_bank integer, p_person uuid, p_freeze boolean, p_retain_until date,
    p_reader uuid, p_purpose purpose, p_request text
) RETURNS access_outcome LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
DECLARE
    held person;
    said access_outcome;
BEGIN
    UPDATE person SET frozen_at = CASE WHEN p_freeze
                                       THEN coalesce(frozen_at, clock_timestamp()) END,
                      retain_until = greatest(retain_until, p_retain_until)
    WHERE bank_id = p_bank AND person_id = p_person AND erased_at IS NULL;
    SELECT * INTO held FROM person WHERE (bank_id, person_id) = (p_bank, p_person);
    said := find_outcome(held, 'legal_duty');
    INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                            request_id)
    VALUES (p_bank, p_reader, CASE WHEN p_freeze THEN 'freeze' ELSE 'unfreeze' END::access_act,
            p_person, '{}', p_purpose, said, p_request);
    RETURN said;
END $$;
COMMENT ON FUNCTION set_freeze IS
    'Freezes or unfreezes. The day up to which a law asks to keep the data only moves on.';

CREATE FUNCTION erase_person(
    p_bank integer, p_person uuid, p_reader uuid, p_purpose purpose, p_request text
) RETURNS access_outcome LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
DECLARE
    held person;
    said access_outcome;
BEGIN
    SELECT * INTO held FROM person WHERE (bank_id, person_id) = (p_bank, p_person) FOR UPDATE;
    said := find_outcome(held, 'legal_duty');
    IF held.retain_until >= (SELECT (clock_timestamp() AT TIME ZONE time_zone)::date
                             FROM timebank.bank WHERE bank_id = p_bank) THEN
        RAISE EXCEPTION 'a law asks to keep this until %', held.retain_until
            USING ERRCODE = 'check_violation', CONSTRAINT = 'person_retention_is_over';
    END IF;
    INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                            request_id)
    VALUES (p_bank, p_reader, 'erase', p_person, '{}', p_purpose, said, p_request);
    IF said = 'done' THEN
        UPDATE person SET key_id = NULL, wrapped_key = NULL, erased_at = clock_timestamp()
        WHERE bank_id = p_bank AND person_id = p_person;
        DELETE FROM field WHERE bank_id = p_bank AND person_id = p_person;
        DELETE FROM blind_index WHERE bank_id = p_bank AND person_id = p_person;
        PERFORM timebank.erase_party(p_bank, p_person, p_reader);
    END IF;
    RETURN said;
END $$;
COMMENT ON FUNCTION erase_person IS
    'Destroys the person''s key, and with it every copy of a field wherever it is; here the fields '
    'and indexes go as well. The ledger keeps its ids.';

CREATE FUNCTION begin_rotation(p_bank integer, p_key text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    UPDATE master_key SET state = 'retiring'
    WHERE bank_id = p_bank AND state = 'current' AND key_id <> p_key;
    INSERT INTO master_key (bank_id, key_id, state) VALUES (p_bank, p_key, 'current')
    ON CONFLICT (bank_id, key_id) DO UPDATE SET state = 'current';
END $$;
COMMENT ON FUNCTION begin_rotation IS
    'Makes a key the current one; a repeat changes nothing. Waits for whoever seals with the old.';

CREATE FUNCTION list_to_rewrap(
    p_bank integer, p_limit integer, p_reader uuid, p_request text
) RETURNS TABLE (person_id uuid, key_id text, wrapped_key bytea, field text, version integer,
                 sealed bytea) LANGUAGE sql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    WITH old AS (
        SELECT p.* FROM person p JOIN master_key k USING (bank_id, key_id)
        WHERE p.bank_id = p_bank AND k.state <> 'current'
        ORDER BY p.person_id LIMIT p_limit FOR UPDATE OF p
    ), logged AS (
        INSERT INTO access_log (bank_id, reader_id, act, person_id, fields, purpose, outcome,
                                request_id)
        SELECT p_bank, p_reader, 'rewrap', o.person_id,
               array(SELECT DISTINCT i.field FROM blind_index i
                     WHERE i.bank_id = p_bank AND i.person_id = o.person_id),
               'key_rotation', 'done', p_request
        FROM old o
    )
    SELECT o.person_id, o.key_id, o.wrapped_key, f.field, f.version, f.sealed
    FROM old o LEFT JOIN field f ON f.bank_id = p_bank AND f.person_id = o.person_id
    ORDER BY o.person_id;
$$;
COMMENT ON FUNCTION list_to_rewrap IS
    'The next persons whose key is wrapped with a master key that retires, with their fields, from '
    'which the indexes are made anew. Locks them.';

CREATE FUNCTION rewrap_persons(
    p_bank integer, p_persons uuid[], p_key text, p_wrapped bytea[],
    p_found uuid[], p_index_fields text[], p_digests bytea[]
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
BEGIN
    UPDATE person SET key_id = p_key, wrapped_key = wrapped
    FROM unnest(p_persons, p_wrapped) AS r(id, wrapped)
    WHERE bank_id = p_bank AND person_id = id AND erased_at IS NULL;
    DELETE FROM blind_index WHERE bank_id = p_bank AND person_id = ANY (p_persons);
    INSERT INTO blind_index (bank_id, field, key_id, digest, person_id)
    SELECT p_bank, name, p_key, digest, id
    FROM unnest(p_found, p_index_fields, p_digests) AS r(id, name, digest)
    ORDER BY name, digest;
END $$;
COMMENT ON FUNCTION rewrap_persons IS 'What list_to_rewrap gave, under the current key.';

CREATE FUNCTION finish_rotation(p_bank integer) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = vault, pg_temp AS $$
DECLARE
    old text[];
BEGIN
    PERFORM FROM master_key WHERE bank_id = p_bank FOR UPDATE;
    old := array(SELECT key_id FROM master_key WHERE bank_id = p_bank AND state = 'retiring');
    IF EXISTS (SELECT FROM person WHERE bank_id = p_bank AND key_id = ANY (old))
       OR timebank.count_sealed(p_bank, (SELECT key_id FROM master_key
                                         WHERE bank_id = p_bank AND state = 'current')) > 0 THEN
        RETURN false;
    END IF;
    DELETE FROM blind_index WHERE bank_id = p_bank AND key_id = ANY (old);
    UPDATE master_key SET state = 'retired' WHERE bank_id = p_bank AND key_id = ANY (old);
    RETURN true;
END $$;
COMMENT ON FUNCTION finish_rotation IS
    'Retires the old keys; false if data came under one meanwhile, and there is more to do.';

CREATE FUNCTION list_master_keys() RETURNS TABLE (bank_id integer, key_id text, state key_state)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    SELECT bank_id, key_id, state FROM master_key ORDER BY bank_id, adopted_at;
$$;
COMMENT ON FUNCTION list_master_keys IS 'The names of the keys of every bank, oldest first.';

CREATE FUNCTION count_persons(p_bank integer, OUT persons bigint, OUT to_rewrap bigint)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    SELECT count(*), count(*) FILTER (WHERE k.state <> 'current')
    FROM person p JOIN master_key k USING (bank_id, key_id) WHERE p.bank_id = p_bank;
$$;
COMMENT ON FUNCTION count_persons IS 'How many have a key, and how many are yet to be rewrapped.';

CREATE FUNCTION list_accesses(p_bank integer, p_person uuid) RETURNS SETOF access_log
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = vault, pg_temp AS $$
    SELECT * FROM access_log
    WHERE bank_id = p_bank AND (p_person IS NULL OR person_id = p_person)
    ORDER BY made_at, entry_id;
$$;
COMMENT ON FUNCTION list_accesses IS 'Who used the data of a person, or of anybody (null).';

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA vault FROM PUBLIC;
GRANT USAGE ON SCHEMA vault TO timebank_app, timebank_auditor;
GRANT EXECUTE ON FUNCTION
    hold_master_keys, add_persons, read_fields, find_persons, open_for_correction, replace_fields,
    set_freeze, erase_person, begin_rotation, list_to_rewrap, rewrap_persons, finish_rotation,
    list_master_keys, count_persons, list_accesses TO timebank_app;
GRANT USAGE ON SCHEMA vault TO timebank_owner;
GRANT EXECUTE ON FUNCTION hold_seal_key, is_current_key TO timebank_owner;
GRANT EXECUTE ON FUNCTION list_accesses, list_master_keys, count_persons TO timebank_auditor;

RESET ROLE;
SET ROLE timebank_owner;
SET search_path = timebank;


-- ── Roles: default deny ─────────────────────────────────────────────────────────────────────────

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA timebank FROM PUBLIC;
GRANT USAGE ON SCHEMA timebank TO timebank_app, timebank_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA timebank TO timebank_app, timebank_auditor;
REVOKE SELECT ON code_key, payment_code, pickup_code FROM timebank_app, timebank_auditor;
REVOKE SELECT ON session, live_session, card, code_secret, signing_secret FROM timebank_auditor;
REVOKE SELECT ON family_invitation, webhook_endpoint, webhook_secret FROM timebank_auditor;
REVOKE SELECT ON login_secret, one_time_code, enrolment, staff_login, login_failure
    FROM timebank_auditor;
GRANT EXECUTE ON FUNCTION
    for_each, open_accounts, lock_balances, post_transfers, post_requests, find_answer,
    answer_request, read_balance_as_of TO timebank_app;
GRANT EXECUTE ON FUNCTION may_move TO timebank_app, timebank_auditor;

RESET ROLE;
RESET search_path;
