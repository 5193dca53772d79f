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
    'expiry'     -- wallet or pool -> retired: not spent in time
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

CREATE FUNCTION make_append_only(p_table text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TRIGGER %1$s_is_append_only BEFORE UPDATE OR DELETE OR TRUNCATE '
        'ON timebank.%1$s FOR EACH STATEMENT EXECUTE FUNCTION timebank.refuse_edit()', p_table);
    EXECUTE format('ALTER TABLE timebank.%1$s ENABLE ALWAYS TRIGGER %1$s_is_append_only', p_table);
END $$;
COMMENT ON FUNCTION make_append_only IS 'Guards a table against update, delete and truncate.';

DO $$
DECLARE
    history text;
BEGIN
    FOREACH history IN ARRAY ARRAY['transfer', 'posting', 'request'] LOOP
        PERFORM timebank.make_append_only(history);
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
        ELSE true  -- a reversal is judged by its original
    END;
$$;
COMMENT ON FUNCTION may_move IS 'Whether a transfer of this kind may move between these accounts.';

CREATE FUNCTION is_reversible(p_kind transfer_kind) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT p_kind NOT IN ('hold', 'capture', 'release', 'refund', 'settlement');
$$;
COMMENT ON FUNCTION is_reversible IS
    'Whether the book may be corrected by a reversal; the redemption engine undoes its own.';

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

CREATE FUNCTION refuse(p_rule text, p_why text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%', p_why USING ERRCODE = 'check_violation', CONSTRAINT = p_rule;
END $$;
COMMENT ON FUNCTION refuse IS 'Raises a violation of a rule as if it were a constraint.';

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
    writers  text[] := array(
        SELECT virtualtransaction FROM pg_locks
        WHERE database = (SELECT oid FROM pg_database WHERE datname = current_database())
          AND relation = ANY (array['balance', 'branch_move', 'placement']::regclass[])
          AND mode IN ('RowShareLock', 'RowExclusiveLock') AND pid <> pg_backend_pid());
BEGIN
    IF p_at > clock_timestamp() THEN
        RAISE EXCEPTION 'the totals at % are not known yet', p_at
            USING ERRCODE = '22008', CONSTRAINT = 'as_of_not_in_future';
    END IF;
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
    'merchant',       -- a merchant's own system
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
    CONSTRAINT session_id_unique UNIQUE (bank_id, session_id)
);
COMMENT ON TABLE session IS
    'Who may call, by the SHA-256 of an opaque token. It counts while it has not expired, was used '
    'within idle_seconds, was not revoked, and its grant was not revoked.';
COMMENT ON COLUMN session.scopes IS 'The only actions it is good for; null: all of its role.';
COMMENT ON COLUMN session.last_used_at IS 'To the minute: an older one is moved on at use.';
CREATE INDEX session_of_party ON session (bank_id, party_id) WHERE revoked_at IS NULL;

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
    found approval;
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
    UPDATE approval SET state = p_state, checker_id = p_checker, decided_at = clock_timestamp()
    WHERE (bank_id, approval_id) = (p_bank, p_approval);
    RETURN p_state;
END $$;
COMMENT ON FUNCTION decide_approval IS
    'Decides a proposal once, before it lapses, by its content; returns the state, or why not. '
    'Whoever made it or is served by it cannot: the constraints of the table say so.';

GRANT INSERT ON role_grant, session, audit_log TO timebank_app;
GRANT INSERT (bank_id, approval_id, deed, content, content_hash, branch_id, maker_id,
              beneficiaries, lapses_at) ON approval TO timebank_app;
GRANT UPDATE (revoked_at) ON role_grant TO timebank_app;
GRANT UPDATE (revoked_at, last_used_at) ON session TO timebank_app;
GRANT EXECUTE ON FUNCTION decide_approval TO timebank_app;


-- ── People ──────────────────────────────────────────────────────────────────────────────────────

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

CREATE TABLE activity (
    bank_id     integer NOT NULL,
    activity_id uuid    NOT NULL,
    source_ref  text    NOT NULL,
    title       text    NOT NULL,
    PRIMARY KEY (bank_id, activity_id),
    CONSTRAINT activity_source_ref_unique UNIQUE (bank_id, source_ref)
);
COMMENT ON TABLE activity IS 'What residents served at; one for each event of a rota.';

CREATE TABLE shift (
    bank_id     integer NOT NULL,
    source_ref  text    NOT NULL,
    activity_id uuid    NOT NULL,
    served_on   date    NOT NULL,
    minutes     bigint  NOT NULL CONSTRAINT shift_minutes_positive CHECK (minutes > 0),
    attended    integer NOT NULL CONSTRAINT shift_attended_positive CHECK (attended > 0),
    points      bigint  NOT NULL CONSTRAINT shift_points_not_negative CHECK (points >= 0),
    CONSTRAINT shift_awarded_once PRIMARY KEY (bank_id, source_ref)
);
COMMENT ON TABLE shift IS 'A shift of a rota that was imported and awarded; it is awarded once.';
COMMENT ON COLUMN shift.points IS 'What all who attended were awarded for it.';


-- ── Roles: default deny ─────────────────────────────────────────────────────────────────────────

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA timebank FROM PUBLIC;
GRANT USAGE ON SCHEMA timebank TO timebank_app, timebank_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA timebank TO timebank_app, timebank_auditor;
REVOKE SELECT ON session FROM timebank_auditor;
GRANT EXECUTE ON FUNCTION
    open_accounts, lock_balances, post_transfers, post_requests, find_answer, answer_request,
    read_balance_as_of TO timebank_app;
GRANT EXECUTE ON FUNCTION may_move TO timebank_app, timebank_auditor;
GRANT INSERT ON resident, activity, shift TO timebank_app;

RESET ROLE;
RESET search_path;
