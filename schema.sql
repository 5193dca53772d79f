-- timebank: the truth. Types, tables, guards, posting functions, views and roles, top to bottom.
--
-- Conventions
--   bank_id      One bank = one programme = one book. It leads every key, so a book can move whole.
--   amounts      Whole minutes (unit hours) or whole points, always positive in a transfer.
--   sign         In a posting and a balance: credit is +, debit is -. Wallets stand at or above 0,
--                issuance accounts at or below 0, and all balances of a unit sum to 0.
--   occurred_at  When the help was given. recorded_at: when the row was written. Both are instants.
--   lock order   Balance rows in the order of account_id, then new rows in that of transfer_id.
--                A transaction calls lock_balances or post_transfers for all its accounts at once.
--   isolation    READ COMMITTED: each statement after the locks must see what was just committed.
--   append-only  transfer, posting and request are written by functions and never edited.

-- Roles belong to the whole server: another database may have them, or be making them now.
DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['timebank_owner NOLOGIN', 'timebank_app LOGIN',
                                'timebank_auditor LOGIN'] LOOP
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
    opened_at        timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE bank IS 'A programme with its own book.';
COMMENT ON COLUMN bank.time_zone IS 'Turns a local date into an instant; an IANA name.';
COMMENT ON COLUMN bank.cursor_key IS 'Signs page cursors, so that every worker accepts them.';

CREATE TABLE account (
    bank_id     integer      NOT NULL,
    account_id  uuid         NOT NULL,
    unit        unit         NOT NULL,
    kind        account_kind NOT NULL,
    owner_id    uuid,
    opened_at   timestamptz  NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, account_id),
    CONSTRAINT account_one_per_owner_kind_unit
        UNIQUE NULLS NOT DISTINCT (bank_id, owner_id, kind, unit)
);
COMMENT ON TABLE account IS 'What never changes of an account.';
COMMENT ON COLUMN account.owner_id IS 'A random id of the registry; null for the bank''s own.';

CREATE TABLE balance (
    bank_id          integer     NOT NULL,
    account_id       uuid        NOT NULL,
    balance          bigint      NOT NULL DEFAULT 0,
    seq              bigint      NOT NULL DEFAULT 0,
    floor            bigint      NOT NULL,
    ceiling          bigint      NOT NULL,
    recorded_at      timestamptz NOT NULL DEFAULT '-infinity',
    occurred_latest  timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (bank_id, account_id),
    CONSTRAINT balance_not_below_floor CHECK (balance >= floor),
    CONSTRAINT balance_not_above_ceiling CHECK (balance <= ceiling)
) WITH (fillfactor = 50);
COMMENT ON TABLE balance IS
    'The one hot mutable table: each account''s last posting, rebuilt from history by the audit.';
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
    IF callers !~ '(^|[^a-z_])(post_transfers|post_requests|answer_request)\(' THEN
        RAISE EXCEPTION 'INSERT on %.% refused: history is written by post_transfers only',
            TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION refuse_insert_by_hand IS
    'Looks for our functions in the call stack, whose other words are in the server''s language.';

DO $$
DECLARE
    history text;
BEGIN
    FOREACH history IN ARRAY ARRAY['transfer', 'posting', 'request'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE '
            'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_edit()', history);
        EXECUTE format('CREATE TRIGGER %1$s_is_written_by_functions BEFORE INSERT '
            'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_insert_by_hand()',
            history);
        EXECUTE format('ALTER TABLE timebank.%1$s ENABLE ALWAYS TRIGGER %1$s_is_append_only, '
            'ENABLE ALWAYS TRIGGER %1$s_is_written_by_functions', history);
    END LOOP;
END $$;


-- ── Posting ─────────────────────────────────────────────────────────────────────────────────────

CREATE FUNCTION open_accounts(
    p_bank integer, p_accounts uuid[], p_units unit[], p_kinds account_kind[], p_owners uuid[]
) RETURNS SETOF account LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    INSERT INTO balance (bank_id, account_id, floor, ceiling)
    SELECT p_bank, id,
           CASE WHEN kind IN ('issuance', 'debt') THEN 1 - (1::bigint << 53) ELSE 0 END,
           CASE WHEN kind IN ('issuance', 'debt') THEN 0 ELSE (1::bigint << 53) - 1 END
    FROM unnest(p_accounts, p_kinds) AS r(id, kind);
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
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    SELECT array_agg(account_id), array_agg(unit), array_agg(kind), array_agg(balance),
           array_agg(seq), array_agg(floor), array_agg(ceiling), array_agg(occurred_latest),
           max(recorded_at), array_agg(place)
    FROM (SELECT b.*, b.ctid AS place, a.unit, a.kind
          FROM balance b JOIN account a USING (bank_id, account_id)
          WHERE b.bank_id = p_bank AND b.account_id = ANY (p_accounts)
          ORDER BY b.account_id FOR NO KEY UPDATE OF b) AS locked;
$$;
COMMENT ON FUNCTION lock_balances IS
    'Locks balance rows in the order of account_id and reads them.';

CREATE TYPE decisions AS (
    statuses       transfer_status[],
    debit_seqs     bigint[],
    credit_seqs    bigint[],
    debit_afters   bigint[],
    credit_afters  bigint[],
    debit_latests  timestamptz[],
    credit_latests timestamptz[],
    balances       bigint[],
    seqs           bigint[],
    latests        timestamptz[]
);

CREATE FUNCTION find_reversal_fault_here(
    p_place integer, p_original integer, p_kinds transfer_kind[], p_reverses uuid[],
    p_debits integer[], p_credits integer[], p_amounts bigint[], p_statuses transfer_status[]
) RETURNS transfer_status LANGUAGE sql IMMUTABLE SET search_path = timebank, pg_temp AS $$
    SELECT CASE
        WHEN p_original IS NOT NULL AND p_statuses[p_original] IS DISTINCT FROM 'posted'
            THEN 'original_not_found'::transfer_status
        WHEN p_reverses[p_original] IS NOT NULL THEN 'original_is_reversal'
        WHEN NOT is_reversible(p_kinds[p_original]) THEN 'original_not_reversible'
        WHEN (p_credits[p_original], p_debits[p_original], p_amounts[p_original])
             <> (p_debits[p_place], p_credits[p_place], p_amounts[p_place]) THEN 'original_differs'
        WHEN EXISTS (SELECT FROM unnest(p_reverses[:p_place - 1], p_statuses[:p_place - 1])
                         AS earlier(reverses, status)
                     WHERE reverses = p_reverses[p_place] AND status = 'posted')
            THEN 'already_reversed'
    END;
$$;
COMMENT ON FUNCTION find_reversal_fault_here IS
    'Why this cannot be a reversal, or null, by what was decided before it in the same call; '
    'p_original is the place of its original if that is of this call too.';

CREATE FUNCTION decide_transfers(
    p_ids uuid[], p_kinds transfer_kind[], p_chain_ids uuid[], p_verdicts transfer_status[],
    p_repeats integer[], p_debits integer[], p_credits integer[], p_amounts bigint[],
    p_occurred timestamptz[], p_reverses uuid[], p_originals integer[], p_state locked_balances
) RETURNS decisions LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    status  transfer_status[] := p_verdicts;
    dseq    bigint[] := array_fill(NULL::bigint, ARRAY[cardinality(p_ids)]);
    cseq    bigint[] := dseq;
    dafter  bigint[] := dseq;
    cafter  bigint[] := dseq;
    dlatest timestamptz[] := array_fill(NULL::timestamptz, ARRAY[cardinality(p_ids)]);
    clatest timestamptz[] := dlatest;
    dbefore timestamptz[] := dlatest;  cbefore timestamptz[] := dlatest;
    bal     bigint[] := p_state.balances;
    seq     bigint[] := p_state.seqs;
    latest  timestamptz[] := p_state.latests;
    floors  bigint[] := p_state.floors;
    ceils   bigint[] := p_state.ceilings;
    chain   uuid;     head integer;  broken boolean;
    d       integer;  c integer;
BEGIN
    FOR i IN 1 .. cardinality(p_ids) LOOP
        IF p_chain_ids[i] = p_ids[i] OR p_chain_ids[i] IS DISTINCT FROM chain THEN
            chain := p_chain_ids[i];
            head := i;
            broken := chain <> p_ids[i];
        END IF;
        d := p_debits[i];
        c := p_credits[i];
        IF p_reverses[i] IS NOT NULL AND status[i] IS NULL AND p_repeats[i] IS NULL THEN
            status[i] := find_reversal_fault_here(i, p_originals[i], p_kinds, p_reverses,
                                                  p_debits, p_credits, p_amounts, status);
        END IF;
        IF status[i] IS NOT NULL OR p_repeats[i] IS NOT NULL THEN
            NULL;  -- decided before: nothing new happens, and a chain around it is broken
        ELSIF broken THEN
            status[i] := 'chain_broken';
        ELSIF bal[d] - p_amounts[i] < floors[d] THEN
            status[i] := 'insufficient_balance';
        ELSIF bal[c] + p_amounts[i] > ceils[c] THEN
            status[i] := 'ceiling_exceeded';
        ELSE
            status[i] := 'posted';
            dbefore[i] := latest[d];
            cbefore[i] := latest[c];
            bal[d] := bal[d] - p_amounts[i];
            bal[c] := bal[c] + p_amounts[i];
            seq[d] := seq[d] + 1;
            seq[c] := seq[c] + 1;
            latest[d] := greatest(latest[d], p_occurred[i]);
            latest[c] := greatest(latest[c], p_occurred[i]);
            dseq[i] := seq[d];
            cseq[i] := seq[c];
            dafter[i] := bal[d];
            cafter[i] := bal[c];
            dlatest[i] := latest[d];
            clatest[i] := latest[c];
            CONTINUE;
        END IF;
        IF chain IS NOT NULL AND NOT broken THEN
            broken := true;
            FOR u IN REVERSE i - 1 .. head LOOP
                CONTINUE WHEN dseq[u] IS NULL;
                status[u] := 'chain_broken';
                dseq[u] := NULL;
                cseq[u] := NULL;
                bal[p_debits[u]] := bal[p_debits[u]] + p_amounts[u];
                bal[p_credits[u]] := bal[p_credits[u]] - p_amounts[u];
                seq[p_debits[u]] := seq[p_debits[u]] - 1;
                seq[p_credits[u]] := seq[p_credits[u]] - 1;
                latest[p_debits[u]] := dbefore[u];
                latest[p_credits[u]] := cbefore[u];
            END LOOP;
        END IF;
        status[i] := coalesce(status[p_repeats[i]], status[i]);
    END LOOP;
    RETURN (status, dseq, cseq, dafter, cafter, dlatest, clatest, bal, seq, latest)::decisions;
END $$;
COMMENT ON FUNCTION decide_transfers IS
    'Pure: takes transfers in order against the locked state. A verdict given beforehand stands, a '
    'repeat follows the row it repeats; the rest is posted or refused by floor, ceiling and chain, '
    'and each decision changes what follows. Debits and credits are places in the locked arrays.';

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

CREATE TYPE examined AS (
    verdicts     transfer_status[],
    repeats      integer[],
    debits       integer[],
    credits      integer[],
    originals    integer[],
    is_new       boolean[],
    recorded_at  timestamptz[]
);

CREATE FUNCTION examine_transfers(
    p_bank integer, p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[],
    p_amounts bigint[], p_occurred timestamptz[], p_actors uuid[], p_chain_ids uuid[],
    p_subjects uuid[], p_reverses uuid[], p_reasons reversal_reason[], p_state locked_balances,
    p_stamp timestamptz
) RETURNS examined LANGUAGE sql STABLE
SET search_path = timebank, pg_temp
SET enable_nestloop = off  -- the places are found by hashing, however many accounts there are
AS $$
    SELECT array_agg(CASE
               WHEN (known).transfer_id IS NULL AND first < n THEN
                   CASE WHEN content IS DISTINCT FROM first_content
                        THEN 'id_conflict'::transfer_status END
               WHEN (known).transfer_id IS NULL THEN
                   CASE WHEN fault <> 'original_not_found' OR reverses <> ALL (p_ids)
                        THEN fault END
               WHEN content IS NOT DISTINCT FROM (
                   (known).kind, (known).debit_account_id, (known).credit_account_id,
                   (known).amount,
                   CASE WHEN occurred = p_stamp AND (known).occurred_at = (known).recorded_at
                        THEN p_stamp ELSE (known).occurred_at END,  -- null: when it is recorded
                   (known).actor_id, (known).chain_id, (known).subject_id, (known).reverses_id,
                   (known).reason) THEN (known).status
               ELSE 'id_conflict' END),
           array_agg(CASE WHEN (known).transfer_id IS NULL AND first < n
                           AND content IS NOT DISTINCT FROM first_content THEN first END),
           array_agg(d), array_agg(c),
           array_agg(CASE WHEN fault = 'original_not_found'
                          THEN array_position(p_ids[:], reverses) END),
           array_agg((known).transfer_id IS NULL AND first = n),
           array_agg(coalesce((known).recorded_at, p_stamp))
    FROM (
        SELECT n, occurred, reverses, content, d.place AS d, c.place AS c,
               first_value(n) OVER same_id AS first,
               first_value(content) OVER same_id AS first_content,
               (SELECT t FROM transfer t
                WHERE (t.bank_id, t.transfer_id) = (p_bank, r.id)) AS known,
               CASE
                   WHEN amount NOT BETWEEN 1 AND (1::bigint << 53) - 1
                       THEN 'amount_out_of_range'::transfer_status
                   WHEN d.place IS NULL OR c.place IS NULL THEN 'account_not_found'
                   WHEN d.place = c.place THEN 'same_account'
                   WHEN d.unit <> c.unit THEN 'unit_mismatch'
                   WHEN occurred > p_stamp THEN 'occurred_in_future'
                   WHEN r.kind = 'reversal' THEN
                       find_reversal_fault(p_bank, reverses, debit, credit, amount)
                   WHEN NOT may_move(r.kind, d.kind, c.kind) THEN 'account_kind_mismatch'
               END AS fault
        FROM (SELECT *, (kind, debit, credit, amount, occurred, actor, chain, subject,
                         reverses, reason) AS content
              FROM unnest(p_ids, p_kinds, p_debits, p_credits, p_amounts, p_occurred, p_actors,
                          p_chain_ids, p_subjects, p_reverses, p_reasons) WITH ORDINALITY
                   AS u(id, kind, debit, credit, amount, occurred, actor, chain, subject,
                        reverses, reason, n)) AS r
        LEFT JOIN unnest(p_state.account_ids, p_state.units, p_state.kinds) WITH ORDINALITY
                  AS d(id, unit, kind, place) ON d.id = r.debit
        LEFT JOIN unnest(p_state.account_ids, p_state.units, p_state.kinds) WITH ORDINALITY
                  AS c(id, unit, kind, place) ON c.id = r.credit
        WINDOW same_id AS (PARTITION BY r.id ORDER BY n)
        ORDER BY n) AS examined;
$$;
COMMENT ON FUNCTION examine_transfers IS
    'What can be said of each transfer before its turn: known from an earlier call, a repeat '
    'within this one, or faulty in itself whatever the balances are.';

CREATE FUNCTION post_transfers(
    p_bank integer, p_ids uuid[], p_kinds transfer_kind[], p_debits uuid[], p_credits uuid[],
    p_amounts bigint[], p_occurred timestamptz[], p_actors uuid[], p_chain_ids uuid[],
    p_subjects uuid[], p_reverses uuid[], p_reasons reversal_reason[],
    OUT statuses transfer_status[], OUT recorded_ats timestamptz[]
) LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timebank, pg_temp SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    state  locked_balances;
    seen   examined;
    done   decisions;
    stamp  timestamptz;
    dated  timestamptz[];
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'post_transfers needs READ COMMITTED' USING ERRCODE = '25001';
    END IF;
    state := lock_balances(p_bank, p_debits || p_credits);
    stamp := greatest(clock_timestamp(), state.recorded_at);
    dated := array(SELECT coalesce(occurred, stamp) FROM unnest(p_occurred) AS occurred);
    seen := examine_transfers(p_bank, p_ids, p_kinds, p_debits, p_credits, p_amounts, dated,
                              p_actors, p_chain_ids, p_subjects, p_reverses, p_reasons, state,
                              stamp);
    -- A slice begins at 1, wherever the caller's array does: places mean the same everywhere.
    done := decide_transfers(p_ids[:], p_kinds[:], p_chain_ids[:], seen.verdicts, seen.repeats,
                             seen.debits, seen.credits, p_amounts[:], dated, p_reverses[:],
                             seen.originals, state);

    INSERT INTO transfer
    SELECT p_bank, id, kind, status, debit, credit, amount, occurred, stamp, debit_seq, credit_seq,
           actor, chain, subject, reverses, reason
    FROM unnest(p_ids, p_kinds, done.statuses, p_debits, p_credits, p_amounts, dated,
                done.debit_seqs, done.credit_seqs, p_actors, p_chain_ids, p_subjects, p_reverses,
                p_reasons, seen.is_new)
         AS r(id, kind, status, debit, credit, amount, occurred, debit_seq, credit_seq, actor,
              chain, subject, reverses, reason, is_new)
    WHERE is_new ORDER BY id;

    INSERT INTO posting
    SELECT p_bank, account, seq, id, amount, balance_after, occurred, latest, stamp
    FROM (SELECT account, seq, id, -amount AS amount, balance_after, occurred, latest
          FROM unnest(p_debits, done.debit_seqs, p_ids, p_amounts, done.debit_afters, dated,
                      done.debit_latests)
               AS debit(account, seq, id, amount, balance_after, occurred, latest)
          UNION ALL
          SELECT account, seq, id, amount, balance_after, occurred, latest
          FROM unnest(p_credits, done.credit_seqs, p_ids, p_amounts, done.credit_afters, dated,
                      done.credit_latests)
               AS credit(account, seq, id, amount, balance_after, occurred, latest)) AS leg
    WHERE seq IS NOT NULL
    ORDER BY account, seq;

    -- A locked row stays where it is: its place in the table is the shortest way back to it.
    UPDATE balance b SET balance = r.balance, seq = r.seq, occurred_latest = r.latest,
                         recorded_at = stamp
    FROM unnest(state.places, state.seqs, done.balances, done.seqs, done.latests)
         AS r(place, seq_before, balance, seq, latest)
    WHERE b.ctid = r.place AND r.seq <> r.seq_before;

    statuses := done.statuses;
    recorded_ats := seen.recorded_at;
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
    decided  transfer_status[];
BEGIN
    INSERT INTO request (bank_id, caller_id, key, fingerprint, transfer_ids)
    SELECT p_bank, caller, key, fingerprint, ids
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

    SELECT (post_transfers(
        p_bank, array_agg(id), array_agg(kind), array_agg(debit), array_agg(credit),
        array_agg(amount), array_agg(occurred), array_agg(p_callers[t.request]), array_agg(chain),
        array_agg(subject), array_agg(NULL::uuid), array_agg(NULL::reversal_reason))).statuses
    INTO decided
    FROM (SELECT * FROM unnest(p_requests, p_ids, p_kinds, p_debits, p_credits, p_amounts,
                               p_occurred, p_chain_ids, p_subjects) WITH ORDINALITY
              AS u(request, id, kind, debit, credit, amount, occurred, chain, subject, n)
          WHERE outcomes[u.request] = 'new' ORDER BY n) AS t
    HAVING count(*) > 0;
    IF 'id_conflict' = ANY (decided) THEN  -- the row of that id is another's: no answer to this
        RAISE EXCEPTION 'post_requests was given a transfer id that has other content'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    RETURN QUERY
    SELECT r.n::integer, outcomes[r.n], t.transfer_id, t.status, t.recorded_at
    FROM unnest(p_callers, p_keys) WITH ORDINALITY AS r(caller, key, n)
    CROSS JOIN LATERAL find_request(p_bank, caller, r.key) AS known
    CROSS JOIN LATERAL unnest(known.transfer_ids) WITH ORDINALITY AS answered(id, place)
    CROSS JOIN LATERAL (  -- a probe for each, also when the plan was made for an empty table
        SELECT * FROM transfer
        WHERE bank_id = p_bank AND transfer_id = answered.id LIMIT 1) AS t
    ORDER BY r.n, answered.place;
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

CREATE FUNCTION read_balance_as_of(
    p_bank integer, p_account uuid, p_recorded_by timestamptz,
    p_occurred_by timestamptz DEFAULT 'infinity'
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp
SET lock_timeout = '2s' AS $$  -- a long import is not waited for: the asker may come again
DECLARE
    last_recorded  bigint;
    last_in_order  bigint;
BEGIN
    PERFORM FROM balance WHERE (bank_id, account_id) = (p_bank, p_account) FOR SHARE;
    IF p_recorded_by > clock_timestamp() THEN
        RAISE EXCEPTION 'the balance at % is not known yet', p_recorded_by
            USING ERRCODE = '22008', CONSTRAINT = 'as_of_not_in_future';
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
    'What the book said at recorded_by of what had occurred by occurred_by. The lock waits for a '
    'posting under way on this account, so the answer for a past instant never changes. O(log n) '
    'for lines in order, plus one index entry for each back-dated line after them.';

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


-- ── People ──────────────────────────────────────────────────────────────────────────────────────

CREATE TYPE role AS ENUM ('resident', 'staff', 'auditor');

CREATE TABLE access_token (
    token_hash   bytea       PRIMARY KEY,
    bank_id      integer     NOT NULL,
    principal_id uuid        NOT NULL,
    role         role        NOT NULL,
    expires_at   timestamptz NOT NULL,
    issued_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at   timestamptz,
    CONSTRAINT access_token_is_sha256 CHECK (length(token_hash) = 32)
);
COMMENT ON TABLE access_token IS 'Who may call, by the SHA-256 of an opaque bearer token.';
COMMENT ON COLUMN access_token.principal_id IS 'For a resident, the resident_id who owns accounts.';

CREATE TABLE resident (
    bank_id      integer NOT NULL,
    resident_id  uuid    NOT NULL,
    source_ref   text    NOT NULL,
    confirmed_on date    NOT NULL,
    PRIMARY KEY (bank_id, resident_id),
    CONSTRAINT resident_source_ref_unique UNIQUE (bank_id, source_ref)
);
COMMENT ON TABLE resident IS 'The registry of account owners: random ids, no personal data.';
COMMENT ON COLUMN resident.source_ref IS 'The pseudonym in the rota a resident was imported from.';


-- ── Service ─────────────────────────────────────────────────────────────────────────────────────
-- People, organisers and teams are random ids of the registry.
-- lock order   Rates of a category (advisory), records by record_id, then balances (see above).
--              Who holds a person's wallets is alone with their carried remainder and their day.

CREATE FUNCTION refuse(p_rule text, p_row text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% against %', p_row, p_rule
        USING ERRCODE = 'check_violation', CONSTRAINT = p_rule, DETAIL = p_row;
END $$;
COMMENT ON FUNCTION refuse IS 'Refuses as a constraint of this name would; the row is the detail.';

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
    'applied', 'shift_not_found', 'shift_cancelled', 'out_of_hours', 'not_checked_in',
    'already_checked_in'
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
COMMENT ON TABLE scan IS 'A line of a scan list that a device kept while it was offline.';

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
    'What a confirmed record earned, with all that went into it: recomputing gives the same.';
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
COMMENT ON TABLE award_reversal IS 'That an award was taken back, and what became of the rest.';
COMMENT ON COLUMN award_reversal.extra_points IS
    'Taken (1) or given back (-1) beyond the award itself: the point it completed with the '
    'remainders of other records, or they with its own.';

DO $$
DECLARE
    history text;
BEGIN
    FOREACH history IN ARRAY ARRAY['service_award', 'award_reversal', 'scan'] LOOP
        EXECUTE format('CREATE TRIGGER %1$s_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE '
            'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_edit()', history);
        EXECUTE format('ALTER TABLE timebank.%1$s ENABLE ALWAYS TRIGGER %1$s_is_append_only',
                       history);
    END LOOP;
END $$;


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
    approve_rate, cancel_shifts, join_shift, leave_shift, submit_records, reject_records,
    find_rate, plan_awards, award_service, open_reversal, close_reversal TO timebank_app;
GRANT EXECUTE ON FUNCTION find_rate TO timebank_auditor;


-- ── Roles: default deny ─────────────────────────────────────────────────────────────────────────

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA timebank FROM PUBLIC;
GRANT USAGE ON SCHEMA timebank TO timebank_app, timebank_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA timebank TO timebank_app, timebank_auditor;
REVOKE SELECT ON access_token FROM timebank_auditor;
REVOKE SELECT ON code_secret FROM timebank_auditor;
GRANT EXECUTE ON FUNCTION
    open_accounts, lock_balances, post_transfers, post_requests, find_answer, answer_request,
    read_balance_as_of TO timebank_app;
GRANT EXECUTE ON FUNCTION may_move TO timebank_app, timebank_auditor;
GRANT INSERT ON bank, access_token, resident TO timebank_app;
GRANT UPDATE (revoked_at) ON access_token TO timebank_app;

RESET ROLE;
RESET search_path;
