-- Queries of the ledger. $1 is always the bank.

-- name: open_accounts
SELECT account_id, unit, kind, owner_id, opened_at FROM open_accounts($1, $2, $3, $4, $5);

-- name: find_accounts
SELECT account_id, unit, kind, owner_id, opened_at FROM account
WHERE bank_id = $1 AND account_id = ANY ($2);

-- name: find_account_of
-- IS NOT DISTINCT FROM would say the same and read the whole table: no index answers it.
SELECT account_id, unit, kind, owner_id, opened_at FROM account
WHERE bank_id = $1 AND owner_id = $2 AND kind = $3 AND unit = $4
UNION ALL
SELECT account_id, unit, kind, owner_id, opened_at FROM account
WHERE bank_id = $1 AND $2 IS NULL AND owner_id IS NULL AND kind = $3 AND unit = $4;

-- name: list_accounts_of_owners
SELECT account_id, owner_id FROM account
WHERE bank_id = $1 AND owner_id = ANY ($2) AND kind = $3 AND unit = $4;

-- name: list_accounts
SELECT account_id, unit, kind, owner_id, opened_at FROM account
WHERE bank_id = $1 AND account_id > $2 AND ($3::uuid IS NULL OR owner_id = $3)
  AND ($4::uuid IS NULL OR owner_id IN (
      SELECT party_id FROM list_places($1, 'infinity')
      WHERE branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity'))))
ORDER BY account_id LIMIT $5;

-- name: post_transfers
-- A column that says the same throughout is sent and answered once: a thousand words would be
-- looked up one by one.
SELECT CASE WHEN statuses[1] = ALL (statuses) THEN statuses[:1] ELSE statuses END AS statuses,
       CASE WHEN recorded_ats[1] = ALL (recorded_ats)
            THEN recorded_ats[:1] ELSE recorded_ats END AS recorded_ats
FROM post_transfers(
    $1, $2, for_each($3::transfer_kind[], cardinality($2::uuid[])), $4, $5, $6, $7,
    for_each($8::uuid[], cardinality($2::uuid[])), $9, $10, $11, $12);

-- name: post_requests
SELECT request, outcome, transfer_id, status, recorded_at
FROM post_requests($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13);

-- name: find_answer
SELECT taken, fingerprint, answer FROM find_answer($1, $2, $3);

-- name: answer_request
SELECT answer_request($1, $2, $3, $4, $5);

-- name: lock_balances
SELECT account_ids, balances FROM lock_balances($1, $2);

-- name: find_transfer
SELECT transfer_id, kind, status, debit_account_id, credit_account_id, amount, occurred_at,
       recorded_at, actor_id, chain_id, subject_id, reverses_id, reason
FROM transfer WHERE bank_id = $1 AND transfer_id = $2;

-- name: list_chain
SELECT transfer_id, kind, status, debit_account_id, credit_account_id, amount, occurred_at,
       recorded_at, actor_id, chain_id, subject_id, reverses_id, reason
FROM transfer WHERE bank_id = $1 AND chain_id = $2
ORDER BY recorded_at, transfer_id;

-- name: list_balances
SELECT account_id, balance, seq FROM balance WHERE bank_id = $1 AND account_id = ANY ($2);

-- name: read_balance_as_of
SELECT read_balance_as_of($1, $2, $3, $4);

-- name: list_passbook
SELECT seq, kind, amount, balance_after, occurred_at, recorded_at, transfer_id, subject_id,
       reverses_id
FROM passbook
WHERE bank_id = $1 AND account_id = $2 AND seq < $3
ORDER BY seq DESC LIMIT $4;

-- name: list_trial_balance
SELECT unit, kind, accounts, debit, credit FROM trial_balance
WHERE bank_id = $1 ORDER BY unit, kind;

-- name: find_bank
SELECT bank_id, code, name, time_zone, points_per_hour, cursor_key, root_id FROM bank
WHERE code = $1;

-- name: find_bank_of_id
SELECT bank_id, code, name, time_zone, points_per_hour, cursor_key, root_id FROM bank
WHERE bank_id = $1;

-- name: find_time_zone
SELECT time_zone FROM bank WHERE bank_id = $1;

-- name: open_bank
SELECT open_bank($1, $2, $3, $4);

-- name: read_clock
SELECT clock_timestamp();

-- name: list_banks
SELECT bank_id, code, name, time_zone, points_per_hour, cursor_key, root_id FROM bank
ORDER BY bank_id;

-- name: find_largest_wallet
SELECT account_id, unit, kind, owner_id, opened_at
FROM balance JOIN account USING (bank_id, account_id, unit, kind)
WHERE bank_id = $1 AND unit = $2 AND kind = 'wallet'
ORDER BY balance DESC, account_id LIMIT 1;

-- name: set_expiry_rule
SELECT set_expiry_rule($1, $2, $3, $4, $5);

-- name: list_expiry_rules
SELECT starts_on, months, grace_days FROM expiry_rule WHERE bank_id = $1 ORDER BY starts_on;

-- name: count_transfers
SELECT count(*) FROM transfer WHERE bank_id = $1 AND status = 'posted';

-- name: stream_lot_moves
-- Instants in microseconds since 1970; a forged one is brought to where calendars know it. The
-- limits keep the joins index probes, also before anybody has counted what an import brought.
SELECT t.transfer_id, t.kind::text, t.amount,
       CASE WHEN d.kind IN ('wallet', 'pool') THEN t.debit_account_id END, t.debit_seq,
       CASE WHEN c.kind IN ('wallet', 'pool') THEN t.credit_account_id END, t.credit_seq,
       (extract(epoch FROM greatest(least(t.recorded_at, '9999-01-01Z'), '0002-01-01Z'))
           * 1000000)::bigint,
       t.subject_id, t.reverses_id
FROM transfer t
CROSS JOIN LATERAL (
    SELECT unit, kind FROM account a WHERE (a.bank_id, a.account_id) = ($1, t.debit_account_id)
    LIMIT 1) AS d
CROSS JOIN LATERAL (
    SELECT kind FROM account a WHERE (a.bank_id, a.account_id) = ($1, t.credit_account_id)
    LIMIT 1) AS c
WHERE t.bank_id = $1 AND t.status = 'posted' AND d.unit = 'points'
  AND (d.kind IN ('wallet', 'pool') OR c.kind IN ('wallet', 'pool'))
ORDER BY t.recorded_at;

-- name: list_lot_moves
-- Of each account of $2 the lines above $3 up to $4. The limits keep the joins index probes.
-- A transfer between two of them comes twice.
SELECT t.transfer_id, t.kind::text, t.amount,
       CASE WHEN d.kind IN ('wallet', 'pool') THEN t.debit_account_id END, t.debit_seq,
       CASE WHEN c.kind IN ('wallet', 'pool') THEN t.credit_account_id END, t.credit_seq,
       (extract(epoch FROM greatest(least(t.recorded_at, '9999-01-01Z'), '0002-01-01Z'))
           * 1000000)::bigint,
       t.subject_id, t.reverses_id
FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS wanted (account_id, above, upto)
CROSS JOIN LATERAL (
    SELECT transfer_id FROM posting p
    WHERE p.bank_id = $1 AND p.account_id = wanted.account_id AND seq > above AND seq <= upto
    ORDER BY seq LIMIT upto - above) AS line
CROSS JOIN LATERAL (
    SELECT * FROM transfer t WHERE (t.bank_id, t.transfer_id) = ($1, line.transfer_id) LIMIT 1) AS t
CROSS JOIN LATERAL (
    SELECT kind FROM account a WHERE (a.bank_id, a.account_id) = ($1, t.debit_account_id)
    LIMIT 1) AS d
CROSS JOIN LATERAL (
    SELECT kind FROM account a WHERE (a.bank_id, a.account_id) = ($1, t.credit_account_id)
    LIMIT 1) AS c
ORDER BY t.recorded_at;

-- name: place_block
SELECT place_block($1, $2, $3, $4, $5, $6, $7);

-- name: list_blocked
SELECT account_id, count_blocked($1, account_id) FROM unnest($2::uuid[]) AS account_id;

-- name: list_blocks
-- Of the accounts of $2, or of all: what was blocked after which line, and until when.
SELECT p.account_id, p.origin_id, min(p.since_seq),
       CASE WHEN b.lifted_at IS NOT NULL
            THEN (extract(epoch FROM greatest(least(b.lifted_at, '9999-01-01Z'), '0002-01-01Z'))
                  * 1000000)::bigint END
FROM blocked_points p JOIN block b USING (bank_id, block_id)
WHERE p.bank_id = $1 AND ($2::uuid[] IS NULL OR p.account_id = ANY ($2))
GROUP BY p.account_id, p.origin_id, p.block_id, b.lifted_at;

-- name: list_captures
SELECT t.subject_id, sum(t.amount)::bigint AS amount
FROM posting p JOIN transfer t USING (bank_id, transfer_id)
WHERE p.bank_id = $1 AND p.account_id = $2 AND t.kind = 'capture' AND t.subject_id IS NOT NULL
GROUP BY t.subject_id;
