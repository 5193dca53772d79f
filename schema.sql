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
    FOREACH role IN ARRAY ARRAY['timebank_owner NOLOGIN', 'timebank_vault NOLOGIN',
                                'timebank_app LOGIN', 'timebank_auditor LOGIN'] LOOP
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

CREATE TABLE branch (
    bank_id         integer      NOT NULL,
    branch_id       uuid         NOT NULL,
    level           branch_level NOT NULL,
    code            text         NOT NULL
                                 CONSTRAINT branch_code_plain
                                 CHECK (code ~ '^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$'),
    name            text         NOT NULL
                                 CONSTRAINT branch_name_short CHECK (length(name) BETWEEN 1 AND 80),
    community_type  text,
    opened_at       timestamptz  NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, branch_id),
    CONSTRAINT branch_code_unique UNIQUE (bank_id, code)
);
COMMENT ON TABLE branch IS 'A place in the tree; it is a party too, and owns its pools.';

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

GRANT INSERT ON party, branch, branch_move, placement TO timebank_app;
GRANT EXECUTE ON FUNCTION open_bank TO timebank_app;
GRANT EXECUTE ON FUNCTION find_branch_of, list_branch_path, is_within
    TO timebank_app, timebank_auditor;


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
--
-- Random ids and what rules ask for. Names, birthdays and the like stand in the vault, below.
-- lock order   A resident's row before anything that belongs to it; several by resident_id.

CREATE TABLE resident (
    bank_id       integer NOT NULL,
    resident_id   uuid    NOT NULL,
    source_ref    text,
    confirmed_on  date,
    member_number text    CONSTRAINT resident_member_number_checked CHECK (
                              member_number ~ '^[1-9][0-9]{9}$' AND
                              member_number::bigint % 97 = 1),
    is_minor      boolean NOT NULL DEFAULT false,
    PRIMARY KEY (bank_id, resident_id),
    CONSTRAINT resident_source_ref_unique UNIQUE (bank_id, source_ref),
    CONSTRAINT resident_member_number_unique UNIQUE (bank_id, member_number)
);
COMMENT ON TABLE resident IS 'The registry of account owners: random ids, no personal data.';
COMMENT ON COLUMN resident.source_ref IS
    'The pseudonym in the rota a resident was imported from; gone when they are erased.';
COMMENT ON COLUMN resident.member_number IS 'Random, with two check digits; null for a pseudonym.';
COMMENT ON COLUMN resident.is_minor IS
    'Was under 18 when last looked at: the rules for minors then ask the vault for the birthday.';

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
    ended_at     timestamptz,
    PRIMARY KEY (bank_id, minor_id, guardian_id, named_at),
    CONSTRAINT guardian_is_another CHECK (guardian_id <> minor_id)
);
COMMENT ON TABLE guardianship IS 'Who acts for a minor; it ends with the minority.';
COMMENT ON COLUMN guardianship.sheet IS 'The paper that shows it.';
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

CREATE FUNCTION has_consent(p_bank integer, p_party uuid, p_kind consent_kind) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT coalesce((SELECT given FROM consent
                     WHERE bank_id = p_bank AND party_id = p_party AND kind = p_kind
                     ORDER BY recorded_at DESC, consent_id DESC LIMIT 1), false);
$$;
COMMENT ON FUNCTION has_consent IS 'Whether the last word of this kind was a consent.';

CREATE FUNCTION is_guardian(p_bank integer, p_guardian uuid, p_minor uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM guardianship
                   WHERE bank_id = p_bank AND minor_id = p_minor AND guardian_id = p_guardian
                     AND ended_at IS NULL);
$$;
COMMENT ON FUNCTION is_guardian IS 'Whether somebody is a minor''s guardian now.';

CREATE FUNCTION may_help(p_bank integer, p_helper uuid, p_resident uuid) RETURNS boolean
LANGUAGE sql STABLE SET search_path = timebank, pg_temp AS $$
    SELECT EXISTS (SELECT FROM family_helper
                   WHERE bank_id = p_bank AND resident_id = p_resident AND helper_id = p_helper
                     AND ended_at IS NULL AND expires_at > clock_timestamp())
       AND has_consent(p_bank, p_resident, 'helper');
$$;
COMMENT ON FUNCTION may_help IS 'Whether somebody is a resident''s family helper now.';

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
    IF NEW.state IN ('approved', 'rejected')
            AND NEW.actor_id IN (last.actor_id, NEW.resident_id) THEN
        RAISE EXCEPTION 'a membership is decided by another person than applied for it'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'membership_decided_by_another';
    END IF;
    IF NEW.state = 'approved' AND minor AND NOT EXISTS (
            SELECT FROM guardianship WHERE bank_id = NEW.bank_id AND minor_id = NEW.resident_id
            AND ended_at IS NULL) THEN
        RAISE EXCEPTION 'a minor needs a guardian'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'minor_has_guardian';
    END IF;
    IF NEW.state = 'approved'
            AND NOT has_consent(NEW.bank_id, NEW.resident_id, 'membership') THEN
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
    'Keeps the steps lawful, whoever writes them; sets step. Who leaves has no card and no session '
    'from then on. Locks the resident''s row.';
CREATE TRIGGER membership_is_lawful BEFORE INSERT ON membership
    FOR EACH ROW EXECUTE FUNCTION check_membership();

CREATE FUNCTION check_guardianship() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    PERFORM check_person(NEW.bank_id, NEW.guardian_id);
    IF NOT EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                   AND resident_id = NEW.minor_id)
       OR EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                  AND resident_id = NEW.guardian_id) THEN
        RAISE EXCEPTION 'a guardian is an adult and guards a minor'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'guardian_is_adult_of_minor';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_guardianship IS 'An adult guards a minor, whoever writes it.';
CREATE TRIGGER guardianship_is_lawful BEFORE INSERT ON guardianship
    FOR EACH ROW EXECUTE FUNCTION check_guardianship();

CREATE FUNCTION check_consent() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
DECLARE
    minor boolean := EXISTS (SELECT FROM resident WHERE bank_id = NEW.bank_id AND is_minor
                             AND resident_id = NEW.party_id);
BEGIN
    PERFORM check_person(NEW.bank_id, NEW.party_id);
    IF NOT is_guardian(NEW.bank_id, NEW.by_id, NEW.party_id)
            AND (NEW.by_id <> NEW.party_id OR minor AND NEW.given) THEN
        RAISE EXCEPTION 'consent is the person''s own, or a guardian''s for a minor'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'consent_by_self_or_guardian';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_consent IS
    'For a minor the guardian consents; the minor, too, may withdraw.';
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
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_helper IS 'A family helper is a person whom the resident wants.';
CREATE TRIGGER family_helper_is_lawful BEFORE INSERT ON family_helper
    FOR EACH ROW EXECUTE FUNCTION check_helper();

CREATE FUNCTION register_residents(
    p_bank integer, p_residents uuid[], p_numbers text[], p_minor boolean[], p_actor uuid
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    INSERT INTO resident (bank_id, resident_id, member_number, is_minor)
    SELECT p_bank, id, number, minor
    FROM unnest(p_residents, p_numbers, p_minor) AS r(id, number, minor)
    ORDER BY id
    ON CONFLICT (bank_id, resident_id) DO UPDATE
    SET member_number = coalesce(resident.member_number, EXCLUDED.member_number),
        is_minor = EXCLUDED.is_minor;
    INSERT INTO membership (bank_id, resident_id, state, actor_id)
    SELECT p_bank, id, 'applied', p_actor FROM unnest(p_residents) AS id ORDER BY id;
END $$;
COMMENT ON FUNCTION register_residents IS
    'Residents who apply for membership. One known by a pseudonym, or who comes back, keeps id, '
    'accounts and number.';

CREATE FUNCTION end_minority(p_bank integer, p_resident uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    UPDATE resident SET is_minor = false
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
    PERFORM revoke_card(p_bank, p_resident);
    INSERT INTO card (bank_id, card_id, resident_id, token_hash, issued_by)
    VALUES (p_bank, p_card, p_resident, p_token_hash, p_issuer);
END $$;
COMMENT ON FUNCTION issue_card IS 'A new card for a member; the old one dies in the same commit.';

CREATE FUNCTION revoke_card(p_bank integer, p_resident uuid) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    WITH dead AS (
        UPDATE card SET revoked_at = clock_timestamp()
        WHERE bank_id = p_bank AND resident_id = p_resident AND revoked_at IS NULL
        RETURNING card_id)
    SELECT EXISTS (SELECT FROM dead);
$$;
COMMENT ON FUNCTION revoke_card IS 'Ends the card in use; whether there was one.';

CREATE FUNCTION erase_party(p_bank integer, p_party uuid, p_actor uuid) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    UPDATE resident SET source_ref = NULL
    WHERE (bank_id, resident_id) = (p_bank, p_party);
    IF find_membership(p_bank, p_party) IN ('applied', 'approved') THEN
        INSERT INTO membership (bank_id, resident_id, state, actor_id)
        VALUES (p_bank, p_party, 'left', p_actor);
    END IF;
    PERFORM revoke_card(p_bank, p_party);
    UPDATE guardianship SET ended_at = clock_timestamp()
    WHERE bank_id = p_bank AND p_party IN (minor_id, guardian_id) AND ended_at IS NULL;
    UPDATE family_helper SET ended_at = clock_timestamp()
    WHERE bank_id = p_bank AND p_party IN (resident_id, helper_id) AND ended_at IS NULL;
    UPDATE role_grant SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = p_party AND revoked_at IS NULL;
    UPDATE session SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = p_party AND revoked_at IS NULL;
    DELETE FROM login_secret WHERE bank_id = p_bank AND party_id = p_party;
    DELETE FROM one_time_code WHERE bank_id = p_bank AND party_id = p_party;
    DELETE FROM enrolment WHERE bank_id = p_bank AND party_id = p_party;
    DELETE FROM staff_login WHERE bank_id = p_bank AND party_id = p_party;
    UPDATE party SET erased_at = clock_timestamp()
    WHERE (bank_id, party_id) = (p_bank, p_party) AND erased_at IS NULL;
END $$;
COMMENT ON FUNCTION erase_party IS
    'What erasure means outside the vault, which alone may call this, when it destroys the key.';

SELECT make_append_only('membership'), make_append_only('consent'), make_append_only('minor_cap');

GRANT INSERT ON resident, membership, guardianship, consent, minor_cap, family_helper
    TO timebank_app;
GRANT UPDATE (ended_at) ON guardianship, family_helper TO timebank_app;
GRANT EXECUTE ON FUNCTION
    find_membership, has_consent, is_guardian, may_help, check_person
    TO timebank_app, timebank_auditor;
GRANT EXECUTE ON FUNCTION register_residents, end_minority, issue_card, revoke_card
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

CREATE FUNCTION check_sheet() RETURNS trigger LANGUAGE plpgsql
SET search_path = timebank, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM sheet_run WHERE bank_id = NEW.bank_id
                   AND NEW.number BETWEEN first_number AND last_number) THEN
        RAISE EXCEPTION 'no sheet of this number was issued'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'sheet_was_issued';
    END IF;
    IF NEW.fate = 'entered' THEN
        PERFORM check_person(NEW.bank_id, NEW.operator_id);
        PERFORM check_person(NEW.bank_id, NEW.witness_id);
        PERFORM check_person(NEW.bank_id, NEW.member_id);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION check_sheet IS 'Only printed sheets are used, by persons of the bank.';
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
GRANT EXECUTE ON FUNCTION issue_sheets TO timebank_app;


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
    FOR one IN SELECT c.table_name, c.column_name, r.place, r.sealed
               FROM unnest(p_tables, p_columns, p_places, p_sealed) AS r(tab, col, place, sealed)
               JOIN sealed_column c ON (c.table_name, c.column_name) = (r.tab, r.col)
               WHERE substring(r.sealed FROM 1 FOR 8) = decode(p_key, 'hex') LOOP
        EXECUTE format('UPDATE %1$I SET %2$I = $1 WHERE bank_id = $2 AND ctid = $3::tid',
                       one.table_name, one.column_name)
        USING one.sealed, p_bank, one.place;
    END LOOP;
END $$;
COMMENT ON FUNCTION reseal IS 'What list_to_reseal gave in the same transaction, under this key.';

GRANT EXECUTE ON FUNCTION count_sealed, list_to_reseal, reseal TO timebank_app;


-- ── Login: what people and systems prove themselves with ────────────────────────────────────────
--
-- Secrets stand here as Argon2id hashes, sealed, so that who reads the database alone cannot even
-- try a million PINs. What counts once (a code, a time step) is
-- spent by a function in one statement: of two at once, one finds nothing left.

CREATE TYPE secret_kind AS ENUM ('pin', 'password');

CREATE TABLE login_secret (
    bank_id      integer     NOT NULL,
    party_id     uuid        NOT NULL,
    kind         secret_kind NOT NULL,
    sealed_hash  bytea       NOT NULL,
    set_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, party_id, kind)
);
COMMENT ON TABLE login_secret IS 'The PIN and the password in force, as sealed Argon2id hashes.';

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
    'The second factor that was shown; it comes into force with the first number made from it.';
CREATE INDEX enrolment_of_party ON enrolment (bank_id, party_id) WHERE used_at IS NULL;

CREATE TABLE staff_login (
    bank_id        integer     NOT NULL,
    party_id       uuid        NOT NULL,
    staff_number   text        NOT NULL
                               CONSTRAINT staff_number_plain CHECK (staff_number ~ '^[0-9]{8}$'),
    sealed_secret  bytea       NOT NULL,
    last_step      bigint      NOT NULL,
    enrolled_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (bank_id, party_id),
    CONSTRAINT staff_number_unique UNIQUE (bank_id, staff_number)
);
COMMENT ON TABLE staff_login IS
    'Who logs in by password: a random number (工号) for a name, and the sealed second factor.';
COMMENT ON COLUMN staff_login.last_step IS 'The last time step that counted; no earlier one will.';

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
    revoked_at           timestamptz,
    PRIMARY KEY (bank_id, api_key_id),
    CONSTRAINT api_key_has_scopes CHECK (cardinality(scopes) > 0)
);
COMMENT ON TABLE api_key IS
    'Keys of systems. A key is a session; a rotated one has two that count, for a while.';

CREATE FUNCTION charge_login(
    p_bank integer, p_method session_method, p_subject bytea, p_is_known boolean, p_waits integer[]
) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
BEGIN
    DELETE FROM login_failure WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM login_failure
        WHERE bank_id = p_bank AND method = p_method
          AND last_failed_at < clock_timestamp() - interval '1 day'
        ORDER BY last_failed_at LIMIT 2 FOR UPDATE SKIP LOCKED));
    INSERT INTO login_failure AS f
    VALUES (p_bank, p_method, p_subject, p_is_known, 1, clock_timestamp(),
            clock_timestamp() + make_interval(secs => p_waits[1]))
    ON CONFLICT (bank_id, method, subject_hash) DO UPDATE
    SET failures = f.failures + 1,
        is_known = p_is_known,
        last_failed_at = clock_timestamp(),
        free_at = clock_timestamp() + make_interval(
            secs => p_waits[least(f.failures + 1, cardinality(p_waits))])
    WHERE f.free_at <= clock_timestamp();
    IF FOUND THEN
        RETURN 0;
    END IF;
    RETURN (SELECT greatest(1, ceil(extract(epoch FROM free_at - clock_timestamp())))
            FROM login_failure
            WHERE bank_id = p_bank AND method = p_method AND subject_hash = p_subject);
END $$;
COMMENT ON FUNCTION charge_login IS
    'Counts an attempt as failed before it is looked at, so that many at once get no more than one '
    'after another. p_waits: seconds to wait after the 1st, 2nd, … failure, the last for all more. '
    'Returns the seconds still to wait, and then counts nothing; 0: go on. Locks the row. '
    'Rows unused for a day go, two at a time.';

CREATE FUNCTION issue_one_time_code(
    p_bank integer, p_party uuid, p_code uuid, p_sealed_hash bytea, p_by uuid, p_lifetime interval
) RETURNS timestamptz LANGUAGE sql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
    INSERT INTO one_time_code (bank_id, party_id, code_id, sealed_hash, issued_by, expires_at)
    VALUES (p_bank, p_party, p_code, p_sealed_hash, p_by, clock_timestamp() + p_lifetime)
    ON CONFLICT (bank_id, party_id) DO UPDATE
    SET code_id = excluded.code_id, sealed_hash = excluded.sealed_hash,
        issued_by = excluded.issued_by, issued_at = excluded.issued_at,
        expires_at = excluded.expires_at, used_at = NULL
    RETURNING expires_at;
$$;
COMMENT ON FUNCTION issue_one_time_code IS 'A new code, in the place of an earlier one.';

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
        WHERE bank_id = p_bank AND party_id = p_party AND last_step < p_step
        RETURNING 1
    )
    SELECT EXISTS (SELECT FROM used);
$$;
COMMENT ON FUNCTION use_time_step IS
    'Spends a time step of a second factor and all before it; false if it was spent.';

CREATE FUNCTION complete_enrolment(
    p_bank integer, p_code_hash bytea, p_staff_number text, p_step bigint, p_sealed_hash bytea
) RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    spent enrolment;
    number text;
BEGIN
    UPDATE enrolment SET used_at = clock_timestamp()
    WHERE bank_id = p_bank AND code_hash = p_code_hash
      AND used_at IS NULL AND expires_at > clock_timestamp() AND sealed_secret IS NOT NULL
    RETURNING * INTO spent;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    UPDATE enrolment SET used_at = clock_timestamp()
    WHERE bank_id = p_bank AND party_id = spent.party_id AND used_at IS NULL;
    INSERT INTO staff_login AS s
    VALUES (p_bank, spent.party_id, p_staff_number, spent.sealed_secret, p_step)
    ON CONFLICT (bank_id, party_id) DO UPDATE
    SET sealed_secret = excluded.sealed_secret, last_step = excluded.last_step,
        enrolled_at = clock_timestamp()
    RETURNING s.staff_number INTO number;
    INSERT INTO login_secret VALUES (p_bank, spent.party_id, 'password', p_sealed_hash)
    ON CONFLICT (bank_id, party_id, kind) DO UPDATE
    SET sealed_hash = excluded.sealed_hash, set_at = clock_timestamp();
    RETURN number;
END $$;
COMMENT ON FUNCTION complete_enrolment IS
    'Spends an invitation (and all others of that person) and puts password and second factor in '
    'force. Returns the staff number, the earlier one where there is one; null if it was spent.';

CREATE FUNCTION rotate_api_key(
    p_bank integer, p_key uuid, p_session uuid, p_asking uuid, p_overlap interval
) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER SET search_path = timebank, pg_temp AS $$
DECLARE
    key api_key;
    kept uuid;
BEGIN
    SELECT * INTO key FROM api_key
    WHERE bank_id = p_bank AND api_key_id = p_key AND revoked_at IS NULL FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    kept := CASE WHEN key.previous_session_id = p_asking THEN p_asking ELSE key.session_id END;
    UPDATE session SET expires_at = least(expires_at, clock_timestamp() + p_overlap)
    WHERE bank_id = p_bank AND session_id = kept AND revoked_at IS NULL;
    UPDATE session SET revoked_at = clock_timestamp()
    WHERE bank_id = p_bank AND session_id IN (key.session_id, key.previous_session_id)
      AND session_id <> kept AND revoked_at IS NULL;
    UPDATE api_key SET session_id = p_session, previous_session_id = kept,
                       rotated_at = clock_timestamp()
    WHERE bank_id = p_bank AND api_key_id = p_key;
    RETURN true;
END $$;
COMMENT ON FUNCTION rotate_api_key IS
    'Puts a new session in the place of a key''s newest, which counts for p_overlap more; with the '
    'new one there are two. Asked for by the older of two (the answer with the newer was lost), '
    'that one is kept and the newer ends.';

SELECT make_sealed('login_secret', 'sealed_hash',
                   $$format('timebank login|%s|%s|%s', bank_id, party_id, kind)$$),
       make_sealed('one_time_code', 'sealed_hash',
                   $$format('timebank login|%s|%s|%s', bank_id, party_id, code_id)$$),
       make_sealed('enrolment', 'sealed_secret',
                   $$format('timebank login|%s|%s|second factor', bank_id, party_id)$$),
       make_sealed('staff_login', 'sealed_secret',
                   $$format('timebank login|%s|%s|second factor', bank_id, party_id)$$);

GRANT INSERT ON login_secret, enrolment, api_key TO timebank_app;
GRANT UPDATE (sealed_hash, set_at) ON login_secret TO timebank_app;
GRANT UPDATE (sealed_secret) ON enrolment TO timebank_app;
GRANT UPDATE (revoked_at) ON api_key TO timebank_app;
GRANT DELETE ON login_failure TO timebank_app;
GRANT EXECUTE ON FUNCTION
    charge_login, issue_one_time_code, use_one_time_code, use_time_step, complete_enrolment,
    rotate_api_key TO timebank_app;


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
        JOIN blind_index i ON (i.bank_id, i.field, i.key_id, i.digest)
                            = (p_bank, r.field, r.key, r.digest)
        JOIN person p ON (p.bank_id, p.person_id) = (i.bank_id, i.person_id)
        WHERE find_outcome(p, p_purpose) = 'done' OR p_purpose = 'registration'
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
    'Who has one of these digests; p_places says which question each belongs to. Whoever registers '
    'finds the frozen too.';

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
GRANT EXECUTE ON FUNCTION hold_seal_key TO timebank_owner;
GRANT EXECUTE ON FUNCTION list_accesses, list_master_keys, count_persons TO timebank_auditor;

RESET ROLE;
SET ROLE timebank_owner;
SET search_path = timebank;


-- ── Roles: default deny ─────────────────────────────────────────────────────────────────────────

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA timebank FROM PUBLIC;
GRANT USAGE ON SCHEMA timebank TO timebank_app, timebank_auditor;
GRANT SELECT ON ALL TABLES IN SCHEMA timebank TO timebank_app, timebank_auditor;
REVOKE SELECT ON session, card FROM timebank_auditor;
REVOKE SELECT ON login_secret, one_time_code, enrolment, staff_login, login_failure
    FROM timebank_auditor;
GRANT EXECUTE ON FUNCTION
    open_accounts, lock_balances, post_transfers, post_requests, find_answer, answer_request,
    read_balance_as_of TO timebank_app;
GRANT EXECUTE ON FUNCTION may_move TO timebank_app, timebank_auditor;
GRANT INSERT ON activity, shift TO timebank_app;

RESET ROLE;
RESET search_path;
