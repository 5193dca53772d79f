-- Queries of the audit. $1 is always the bank, null for all. They only read.
-- Those of checks.py answer a row for each finding: bank_id, row, what was expected, what is found.

-- name: prepare_for_whole_tables
-- Nobody has counted the rows yet that an import has just brought: nested loops over them for ever.
SELECT set_config('work_mem', '64MB', true), set_config('enable_nestloop', 'off', true);

-- name: list_bank_codes
SELECT bank_id, code FROM bank;

-- name: count_rows
SELECT (SELECT count(*) FROM transfer WHERE $1::integer IS NULL OR bank_id = $1) AS transfers,
       (SELECT count(*) FROM posting WHERE $1::integer IS NULL OR bank_id = $1) AS postings,
       (SELECT count(*) FROM bank WHERE $1::integer IS NULL OR bank_id = $1) AS banks,
       now()::text AS read_at;

-- name: stream_accounts
SELECT bank_id, account_id, a.unit::text, a.kind::text, b.unit::text, b.kind::text, b.balance,
       b.seq, b.floor, b.ceiling, b.recorded_at, b.occurred_latest
FROM (SELECT * FROM account WHERE $1::integer IS NULL OR bank_id = $1) AS a
FULL JOIN (SELECT * FROM balance WHERE $1::integer IS NULL OR bank_id = $1) AS b
     USING (bank_id, account_id)
ORDER BY bank_id, account_id;

-- name: stream_lines
SELECT bank_id, account_id, seq,
       p.transfer_id, p.amount, p.balance_after, p.occurred_at, p.occurred_latest, p.recorded_at,
       told.transfer_id, told.amount, told.occurred_at, told.recorded_at
FROM (SELECT * FROM posting WHERE $1::integer IS NULL OR bank_id = $1) AS p
FULL JOIN (
    SELECT bank_id, debit_account_id AS account_id, debit_seq AS seq, transfer_id,
           -amount AS amount, occurred_at, recorded_at
    FROM transfer WHERE status = 'posted' AND ($1::integer IS NULL OR bank_id = $1)
    UNION ALL
    SELECT bank_id, credit_account_id, credit_seq, transfer_id, amount, occurred_at, recorded_at
    FROM transfer WHERE status = 'posted' AND ($1::integer IS NULL OR bank_id = $1)
) AS told USING (bank_id, account_id, seq)
ORDER BY bank_id, account_id, seq;

-- name: stream_balances_with_lots
SELECT account_id, balance, seq FROM balance JOIN account a USING (bank_id, account_id)
WHERE bank_id = $1 AND a.unit = 'points' AND a.kind IN ('wallet', 'pool');

-- name: stream_lot_links
-- Wallets and pools between which points went: the lots of neither can be told without the other.
SELECT DISTINCT least(d.account_id, c.account_id), greatest(d.account_id, c.account_id)
FROM transfer t
JOIN account d ON (d.bank_id, d.account_id) = (t.bank_id, t.debit_account_id)
JOIN account c ON (c.bank_id, c.account_id) = (t.bank_id, t.credit_account_id)
WHERE t.bank_id = $1 AND t.status = 'posted' AND d.unit = 'points'
  AND d.kind IN ('wallet', 'pool') AND c.kind IN ('wallet', 'pool');

-- name: count_lot_lines
SELECT coalesce(sum(seq), 0)::bigint FROM balance JOIN account a USING (bank_id, account_id)
WHERE bank_id = $1 AND a.unit = 'points' AND a.kind IN ('wallet', 'pool');

-- name: list_trial_balances
SELECT bank_id, unit::text, kind::text, accounts, debit, credit FROM trial_balance
WHERE $1::integer IS NULL OR bank_id = $1;


-- ── Transfers ───────────────────────────────────────────────────────────────────────────────────

-- name: amounts_out_of_range
SELECT bank_id, format('transfer %s', transfer_id),
       'from 1 to 2^53 - 1, between two accounts',
       format('%s from %s to %s', amount, debit_account_id, credit_account_id)
FROM transfer
WHERE ($1::integer IS NULL OR bank_id = $1) AND status = 'posted'
  AND (amount NOT BETWEEN 1 AND (1::bigint << 53) - 1 OR debit_account_id = credit_account_id);

-- name: refused_transfers_with_postings
SELECT t.bank_id, format('transfer %s', transfer_id), format('%s, so no postings', t.status),
       coalesce(format('posting %s/%s', p.account_id, p.seq),
                format('numbered %s and %s', t.debit_seq, t.credit_seq))
FROM transfer t LEFT JOIN posting p USING (bank_id, transfer_id)
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.status <> 'posted'
  AND (p.seq IS NOT NULL OR t.debit_seq IS NOT NULL OR t.credit_seq IS NOT NULL);

-- name: transfers_across_units
SELECT t.bank_id, format('transfer %s', transfer_id), 'two accounts of one unit in this bank',
       format('%s to %s', coalesce(d.unit::text, 'no account'),
              coalesce(c.unit::text, 'no account'))
FROM transfer t
LEFT JOIN account d ON (d.bank_id, d.account_id) = (t.bank_id, t.debit_account_id)
LEFT JOIN account c ON (c.bank_id, c.account_id) = (t.bank_id, t.credit_account_id)
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.status = 'posted'
  AND (d.unit = c.unit) IS NOT TRUE;

-- name: transfers_of_wrong_kind
SELECT t.bank_id, format('transfer %s', transfer_id), 'accounts that this kind may move between',
       format('%s from %s to %s', t.kind, d.kind, c.kind)
FROM transfer t
JOIN account d ON (d.bank_id, d.account_id) = (t.bank_id, t.debit_account_id)
JOIN account c ON (c.bank_id, c.account_id) = (t.bank_id, t.credit_account_id)
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.status = 'posted' AND t.kind <> 'reversal'
  AND NOT timebank.may_move(t.kind, d.kind, c.kind);

-- name: transfers_before_they_occurred
SELECT bank_id, format('transfer %s', transfer_id), format('occurred by %s', recorded_at),
       format('occurred at %s', occurred_at)
FROM transfer
WHERE ($1::integer IS NULL OR bank_id = $1) AND status = 'posted' AND occurred_at > recorded_at;

-- name: reversals_without_original
SELECT r.bank_id, format('transfer %s', r.transfer_id),
       'with a reason, the mirror image of an earlier posted transfer that is no reversal',
       CASE WHEN r.kind <> 'reversal' THEN format('%s that names an original or a reason', r.kind)
            WHEN r.reason IS NULL THEN 'no reason'
            WHEN o.transfer_id IS NULL THEN 'no original'
            ELSE format('original %s: %s, %s, %s from %s to %s at %s', o.transfer_id, o.kind,
                        o.status, o.amount, o.debit_account_id, o.credit_account_id, o.recorded_at)
       END
FROM transfer r
LEFT JOIN transfer o ON (o.bank_id, o.transfer_id) = (r.bank_id, r.reverses_id)
WHERE ($1::integer IS NULL OR r.bank_id = $1) AND r.status = 'posted'
  AND (r.kind = 'reversal' OR r.reverses_id IS NOT NULL OR r.reason IS NOT NULL)
  AND (r.kind = 'reversal' AND r.reason IS NOT NULL AND o.status = 'posted'
       AND o.kind <> 'reversal' AND o.recorded_at <= r.recorded_at AND o.amount = r.amount
       AND o.debit_account_id = r.credit_account_id
       AND o.credit_account_id = r.debit_account_id) IS NOT TRUE;

-- name: transfers_reversed_twice
SELECT bank_id, format('transfer %s', reverses_id), 'one reversal at most',
       format('%s, last transfer %s', count(*), max(transfer_id::text))
FROM transfer
WHERE ($1::integer IS NULL OR bank_id = $1) AND status = 'posted' AND reverses_id IS NOT NULL
GROUP BY bank_id, reverses_id HAVING count(*) > 1;

-- name: broken_chains
-- A refused member of a posted chain is lawful when a later call named the chain again.
SELECT member.bank_id, format('transfer %s', member.transfer_id),
       CASE WHEN head.transfer_id IS NULL THEN format('in a chain of transfer %s', member.chain_id)
            ELSE format('as its chain %s: %s at %s', head.transfer_id, head.status,
                        head.recorded_at) END,
       CASE WHEN head.transfer_id IS NULL THEN 'no such transfer'
            ELSE format('%s at %s, the first''s chain is %s', member.status, member.recorded_at,
                        coalesce(head.chain_id::text, 'none')) END
FROM transfer member
LEFT JOIN transfer head ON (head.bank_id, head.transfer_id) = (member.bank_id, member.chain_id)
WHERE ($1::integer IS NULL OR member.bank_id = $1) AND member.chain_id IS NOT NULL
  AND CASE WHEN head.transfer_id IS NULL THEN true
           WHEN member.status = 'posted' THEN
               (head.status, head.recorded_at, head.chain_id)
               IS DISTINCT FROM (member.status, member.recorded_at, member.chain_id)
           ELSE (head.status = 'posted' AND head.recorded_at = member.recorded_at
                 AND head.chain_id = member.chain_id) IS TRUE END
UNION ALL
SELECT head.bank_id, format('transfer %s', head.transfer_id), 'the first of two at least', 'alone'
FROM transfer head
WHERE ($1::integer IS NULL OR head.bank_id = $1) AND head.status = 'posted'
  AND head.chain_id = head.transfer_id
  AND NOT EXISTS (SELECT FROM transfer member
                  WHERE (member.bank_id, member.chain_id) = (head.bank_id, head.chain_id)
                    AND member.status = 'posted' AND member.transfer_id <> head.transfer_id);


-- ── Requests and banks ──────────────────────────────────────────────────────────────────────────

-- name: requests_with_wrong_answers
SELECT r.bank_id, format('request %s/%s', r.caller_id, r.key),
       format('transfer %s by this caller', answered.id),
       CASE WHEN t.transfer_id IS NULL THEN 'no such transfer' ELSE format('by %s', t.actor_id) END
FROM request r
CROSS JOIN LATERAL unnest(r.transfer_ids) AS answered (id)
LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (r.bank_id, answered.id)
WHERE ($1::integer IS NULL OR r.bank_id = $1) AND t.actor_id IS DISTINCT FROM r.caller_id
UNION ALL
SELECT r.bank_id, format('request %s/%s', r.caller_id, r.key),
       format('transfers of one call, the first %s at %s', first.transfer_id, first.recorded_at),
       format('transfer %s at %s', t.transfer_id, t.recorded_at)
FROM request r
JOIN transfer first ON (first.bank_id, first.transfer_id) = (r.bank_id, r.transfer_ids[1])
CROSS JOIN LATERAL unnest(r.transfer_ids) AS answered (id)
JOIN transfer t ON (t.bank_id, t.transfer_id) = (r.bank_id, answered.id)
WHERE ($1::integer IS NULL OR r.bank_id = $1) AND t.recorded_at <> first.recorded_at;

-- name: transfers_of_two_requests
SELECT bank_id, format('transfer %s', answered.id), 'the answer of one request',
       format('%s: %s/%s and %s/%s', count(*), (min(array[caller_id::text, key]))[1],
              (min(array[caller_id::text, key]))[2], (max(array[caller_id::text, key]))[1],
              (max(array[caller_id::text, key]))[2])
FROM request CROSS JOIN LATERAL (SELECT DISTINCT unnest(transfer_ids)) AS answered (id)
WHERE $1::integer IS NULL OR bank_id = $1
GROUP BY bank_id, answered.id HAVING count(*) > 1;

-- name: requests_out_of_form
SELECT bank_id, format('request %s/%s', caller_id, key),
       'a fingerprint of 32 bytes, and transfers or an answer',
       format('%s bytes, %s transfers, %s', length(fingerprint),
              coalesce(cardinality(transfer_ids), 0),
              CASE WHEN answer IS NULL THEN 'no answer' ELSE 'an answer' END)
FROM request
WHERE ($1::integer IS NULL OR bank_id = $1)
  AND (length(fingerprint) <> 32 OR num_nonnulls(transfer_ids, answer) <> 1);

-- name: owners_not_registered
SELECT bank_id, format('account %s', account_id),
       coalesce('party ' || owner_id, format('an owner of the %s', kind)), 'none'
FROM account a
WHERE ($1::integer IS NULL OR bank_id = $1)
  AND CASE WHEN owner_id IS NULL THEN kind IN ('wallet', 'debt', 'held', 'merchant')
           ELSE NOT EXISTS (SELECT FROM party p
                            WHERE (p.bank_id, p.party_id) = (a.bank_id, a.owner_id)) END;

-- name: accounts_opened_after_their_lines
SELECT a.bank_id, format('account %s', account_id), format('opened by %s', line.recorded_at),
       format('opened at %s', a.opened_at)
FROM account a JOIN posting line USING (bank_id, account_id)
WHERE ($1::integer IS NULL OR a.bank_id = $1) AND line.seq = 1 AND a.opened_at > line.recorded_at;

-- name: rules_set_for_the_past
SELECT r.bank_id, format('expiry rule of %s', r.starts_on),
       format('set before that day began in %s', b.time_zone), format('set at %s', r.set_at)
FROM expiry_rule r JOIN bank b USING (bank_id)
WHERE ($1::integer IS NULL OR r.bank_id = $1)
  AND (r.set_at AT TIME ZONE b.time_zone)::date >= r.starts_on;

-- name: rows_of_no_bank
SELECT row.bank_id, row.name, 'a bank of this id', 'none'
FROM (SELECT bank_id, format('account %s', account_id) AS name FROM account
      UNION ALL SELECT bank_id, format('balance %s', account_id) FROM balance
      UNION ALL SELECT bank_id, format('transfer %s', transfer_id) FROM transfer
      UNION ALL SELECT bank_id, format('request %s/%s', caller_id, key) FROM request
      UNION ALL SELECT bank_id, format('expiry rule of %s', starts_on) FROM expiry_rule
      UNION ALL SELECT bank_id, format('record %s', record_id) FROM service_record
      UNION ALL SELECT bank_id, format('award of record %s', record_id) FROM service_award) AS row
WHERE ($1::integer IS NULL OR row.bank_id = $1)
  AND NOT EXISTS (SELECT FROM bank WHERE bank.bank_id = row.bank_id);


-- ── Places ──────────────────────────────────────────────────────────────────────────────────────

-- name: branches_out_of_place
-- A level between each branch and its parent's: so there is no cycle either, now and at any time.
SELECT m.bank_id, format('branch %s', m.branch_id),
       CASE WHEN b.level = 'district' THEN 'the root, on nothing'
            ELSE format('on a %s that there was by %s',
                        coalesce(timebank.level_above(b.level)::text, 'branch'), m.moved_at) END,
       CASE WHEN b.level IS NULL THEN 'no such branch'
            WHEN m.parent_id IS NULL THEN 'on nothing'
            ELSE format('on branch %s, %s', m.parent_id, coalesce(p.level::text, 'which is none'))
       END
FROM branch_move m
LEFT JOIN branch b USING (bank_id, branch_id)
LEFT JOIN branch p ON (p.bank_id, p.branch_id) = (m.bank_id, m.parent_id)
WHERE ($1::integer IS NULL OR m.bank_id = $1)
  AND CASE WHEN b.level = 'district' THEN m.parent_id IS NOT NULL
           ELSE (p.level = timebank.level_above(b.level)
                 AND EXISTS (SELECT FROM branch_move earlier
                             WHERE (earlier.bank_id, earlier.branch_id) = (m.bank_id, m.parent_id)
                               AND earlier.moved_at <= m.moved_at)) IS NOT TRUE END
UNION ALL
SELECT b.bank_id, format('branch %s', b.branch_id), 'in the tree, of a type that there is',
       format('a %s in no place or of type %s', b.level, coalesce(b.community_type, 'none'))
FROM branch b
WHERE ($1::integer IS NULL OR b.bank_id = $1)
  AND (NOT EXISTS (SELECT FROM branch_move m
                   WHERE (m.bank_id, m.branch_id) = (b.bank_id, b.branch_id))
       OR b.community_type IS NOT NULL AND (b.level <> 'community' OR NOT EXISTS (
           SELECT FROM community_type t WHERE (t.bank_id, t.code) = (b.bank_id, b.community_type))))
UNION ALL
SELECT k.bank_id, format('bank %s', k.bank_id), format('branch %s as its one district', k.root_id),
       coalesce(string_agg(b.branch_id::text, ', '), 'none')
FROM bank k LEFT JOIN branch b ON b.bank_id = k.bank_id AND b.level = 'district'
WHERE $1::integer IS NULL OR k.bank_id = $1
GROUP BY k.bank_id, k.root_id
HAVING (count(b.branch_id) = 1 AND bool_and(b.branch_id = k.root_id)) IS NOT TRUE;

-- name: things_out_of_place
SELECT l.bank_id, format('placement of party %s at %s', l.party_id, l.placed_at),
       'a party that is no branch, on a branch that there was', format('a %s, on branch %s%s',
           coalesce(p.kind::text, 'party that is none'), l.branch_id,
           CASE WHEN there.since IS NULL THEN ', which is none'
                WHEN there.since > l.placed_at THEN format(' of %s', there.since) END)
FROM placement l
LEFT JOIN party p USING (bank_id, party_id)
LEFT JOIN (SELECT bank_id, branch_id, min(moved_at) AS since FROM branch_move GROUP BY 1, 2)
          AS there USING (bank_id, branch_id)
WHERE ($1::integer IS NULL OR l.bank_id = $1)
  AND (p.kind <> 'branch' AND there.since <= l.placed_at) IS NOT TRUE
UNION ALL
SELECT s.bank_id, format('service point %s', s.service_point_id),
       format('on a %s, the one station there', timebank.level_of_service_point(s.kind)),
       format('on branch %s, a %s, with %s open stations', s.branch_id,
              coalesce(b.level::text, 'branch that is none'), stations.open)
FROM service_point s
LEFT JOIN branch b USING (bank_id, branch_id)
CROSS JOIN LATERAL (
    SELECT count(*) AS open FROM service_point o
    WHERE (o.bank_id, o.branch_id, o.kind) = (s.bank_id, s.branch_id, 'station')
      AND o.closed_at IS NULL) AS stations
WHERE ($1::integer IS NULL OR s.bank_id = $1)
  AND (b.level = timebank.level_of_service_point(s.kind) AND stations.open <= 1) IS NOT TRUE;

-- name: balances_out_of_the_tree
-- What hangs nowhere below the root is missing from every total above it.
WITH RECURSIVE
parents AS MATERIALIZED (
    SELECT k.bank_id, k.root_id, p.branch_id, p.parent_id
    FROM bank k CROSS JOIN LATERAL timebank.list_parents(k.bank_id, 'infinity') AS p
    WHERE $1::integer IS NULL OR k.bank_id = $1
), tree AS (
    SELECT bank_id, branch_id FROM parents WHERE branch_id = root_id AND parent_id IS NULL
    UNION
    SELECT p.bank_id, p.branch_id
    FROM tree JOIN parents p ON (p.bank_id, p.parent_id) = (tree.bank_id, tree.branch_id)
), place AS (
    SELECT k.bank_id, p.party_id, p.branch_id
    FROM bank k CROSS JOIN LATERAL timebank.list_places(k.bank_id, 'infinity') AS p
    WHERE $1::integer IS NULL OR k.bank_id = $1
), held AS (
    SELECT a.bank_id, coalesce(place.branch_id, k.root_id) AS branch_id, a.unit, b.balance
    FROM account a
    JOIN bank k USING (bank_id)
    JOIN balance b USING (bank_id, account_id)
    LEFT JOIN place ON (place.bank_id, place.party_id) = (a.bank_id, a.owner_id)
    WHERE $1::integer IS NULL OR a.bank_id = $1
)
SELECT bank_id, format('branch %s', branch_id), 'below the root, and counted in its totals',
       format('outside the tree: %s accounts, %s %s', count(*), sum(balance), unit)
FROM held LEFT JOIN tree USING (bank_id, branch_id)
WHERE tree.branch_id IS NULL
GROUP BY bank_id, branch_id, unit;
-- ── Service ─────────────────────────────────────────────────────────────────────────────────────

-- name: records_with_wrong_awards
SELECT bank_id, format('record %s', record_id),
       CASE WHEN r.status IN ('confirmed', 'reversed')
            THEN format('%s, with an award for %s minutes%s', r.status, r.minutes,
                        CASE r.status WHEN 'reversed' THEN ' and its reversal' ELSE '' END)
            ELSE format('%s, so no award', coalesce(r.status::text, 'no record')) END,
       format('%s%s', CASE WHEN a.record_id IS NULL THEN 'no award'
                           ELSE format('an award for %s minutes', a.minutes) END,
              CASE WHEN v.record_id IS NULL THEN '' ELSE ' and a reversal' END)
FROM (SELECT * FROM service_record WHERE $1::integer IS NULL OR bank_id = $1) AS r
FULL JOIN (SELECT * FROM service_award WHERE $1::integer IS NULL OR bank_id = $1) AS a
          USING (bank_id, record_id)
FULL JOIN (SELECT * FROM award_reversal WHERE $1::integer IS NULL OR bank_id = $1) AS v
          USING (bank_id, record_id)
WHERE coalesce(r.status IN ('confirmed', 'reversed'), false) <> (a.record_id IS NOT NULL)
   OR coalesce(r.status = 'reversed', false) <> (v.record_id IS NOT NULL)
   OR a.record_id IS NOT NULL
      AND (a.minutes, a.next_day_minutes) IS DISTINCT FROM (r.minutes, r.next_day_minutes);

-- name: awards_with_wrong_transfers
SELECT a.bank_id, format('award of record %s', a.record_id),
       format('transfer %s: award of %s %s to the wallet of %s, by %s', leg.id, leg.amount,
              leg.unit, r.person_id, r.decided_by),
       CASE WHEN t.transfer_id IS NULL THEN 'no such transfer'
            ELSE format('%s, %s of %s %s to the %s of %s, by %s, in chain %s', t.status, t.kind,
                        t.amount, c.unit, c.kind, c.owner_id, t.actor_id,
                        coalesce(t.chain_id::text, 'none')) END
FROM service_award a
JOIN service_record r USING (bank_id, record_id)
CROSS JOIN LATERAL (VALUES (a.hours_transfer_id, 'hours'::timebank.unit, a.minutes),
                           (a.points_transfer_id, 'points', a.points)) AS leg (id, unit, amount)
LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (a.bank_id, leg.id)
LEFT JOIN account c ON (c.bank_id, c.account_id) = (a.bank_id, t.credit_account_id)
WHERE ($1::integer IS NULL OR a.bank_id = $1)
  AND CASE WHEN leg.unit = 'points' AND a.points = 0 THEN leg.id IS NOT NULL
           ELSE (t.status = 'posted' AND t.kind = 'award' AND t.amount = leg.amount
                 AND c.unit = leg.unit AND c.kind = 'wallet' AND c.owner_id = r.person_id
                 AND t.actor_id = r.decided_by AND t.occurred_at = r.occurred_at
                 AND t.subject_id = coalesce(r.activity_id, r.wish_id)
                 AND t.chain_id IS NOT DISTINCT FROM
                     CASE WHEN a.points > 0 THEN a.hours_transfer_id END) IS NOT TRUE END;

-- name: awards_reversed_without_their_records
SELECT a.bank_id, format('award of record %s', a.record_id),
       format('%s, so transfer %s is %s', r.status, leg.id,
              CASE r.status WHEN 'reversed' THEN 'reversed' ELSE 'not reversed' END),
       coalesce(format('reversed by transfer %s', v.transfer_id), 'not reversed')
FROM service_award a
JOIN service_record r USING (bank_id, record_id)
CROSS JOIN LATERAL (VALUES (a.hours_transfer_id), (a.points_transfer_id)) AS leg (id)
LEFT JOIN transfer v ON v.bank_id = a.bank_id AND v.reverses_id = leg.id AND v.status = 'posted'
WHERE ($1::integer IS NULL OR a.bank_id = $1) AND leg.id IS NOT NULL
  AND (r.status = 'reversed') <> (v.transfer_id IS NOT NULL);

-- name: transfers_of_two_awards
SELECT bank_id, format('transfer %s', leg.id), 'the award of one record',
       format('%s, last record %s', count(*), max(record_id::text))
FROM service_award CROSS JOIN LATERAL (VALUES (hours_transfer_id), (points_transfer_id)) AS leg (id)
WHERE ($1::integer IS NULL OR bank_id = $1) AND leg.id IS NOT NULL
GROUP BY bank_id, leg.id HAVING count(*) > 1;

-- name: overlapping_records
SELECT a.bank_id, format('record %s', a.record_id),
       format('alone in its time, %s', a.during),
       format('record %s is in %s', b.record_id, b.during)
FROM service_record a
JOIN service_record b ON (b.bank_id, b.person_id, b.status) = (a.bank_id, a.person_id, a.status)
                     AND b.during && a.during AND b.record_id > a.record_id
WHERE ($1::integer IS NULL OR a.bank_id = $1) AND a.status = 'confirmed';

-- name: records_with_wrong_minutes
-- By the time zones of PostgreSQL, where the service went by those of Python.
SELECT bank_id, format('record %s', record_id),
       format('from %s, %s minutes, %s of the next day', local.served_on, local.minutes,
              local.next_day_minutes),
       format('from %s, %s minutes, %s of the next day', r.served_on, r.minutes,
              r.next_day_minutes)
FROM service_record r
JOIN bank b USING (bank_id)
CROSS JOIN LATERAL (SELECT
    (r.occurred_at AT TIME ZONE b.time_zone)::date AS served_on,
    coalesce(extract(epoch FROM upper(during) - lower(during)) / 60, r.minutes)::bigint AS minutes,
    coalesce(greatest(0, extract(epoch FROM upper(during)
        - ((r.occurred_at AT TIME ZONE b.time_zone)::date + 1)::timestamp
          AT TIME ZONE b.time_zone) / 60), 0)::bigint AS next_day_minutes) AS local
WHERE ($1::integer IS NULL OR bank_id = $1)
  AND ((local.served_on, local.minutes, local.next_day_minutes)
       <> (r.served_on, r.minutes, r.next_day_minutes) OR r.minutes < 1
       OR lower(during) <> r.occurred_at OR during IS NULL AND r.source <> 'paper');

-- name: awards_by_wrong_rates
SELECT a.bank_id, format('award of record %s', a.record_id),
       format('rates %s and %s: %s + %s, the rest below 60', now.points_per_hour,
              later.points_per_hour, a.remainder_before,
              (a.minutes - a.next_day_minutes) * now.points_per_hour
              + a.next_day_minutes * later.points_per_hour),
       format('rates %s and %s: 60 * %s + %s', a.points_per_hour, a.next_points_per_hour,
              a.points, a.remainder_after)
FROM service_award a
JOIN service_record r USING (bank_id, record_id)
CROSS JOIN LATERAL timebank.find_rate(a.bank_id, r.category_id, r.served_on) AS now
CROSS JOIN LATERAL timebank.find_rate(
    a.bank_id, r.category_id, r.served_on + (r.next_day_minutes > 0)::integer) AS later
WHERE ($1::integer IS NULL OR a.bank_id = $1)
  AND (a.remainder_before + (a.minutes - a.next_day_minutes) * a.points_per_hour
       + a.next_day_minutes * a.next_points_per_hour <> 60 * a.points + a.remainder_after
       OR a.remainder_before NOT BETWEEN 0 AND 59 OR a.remainder_after NOT BETWEEN 0 AND 59
       OR r.status = 'confirmed'
          AND (a.rate_id, a.points_per_hour, a.next_rate_id, a.next_points_per_hour)
              IS DISTINCT FROM (now.rate_id, now.points_per_hour, later.rate_id,
                                later.points_per_hour));

-- name: persons_with_wrong_points
SELECT bank_id, format('person %s in category %s', person_id, category_id),
       format('%s points and %s/60', earned.exact / 60, earned.exact % 60),
       format('%s points and %s/60', coalesce(earned.points, 0), c.remainder)
FROM carry c
FULL JOIN (
    SELECT bank_id, r.person_id, r.category_id,
           sum(CASE r.status WHEN 'confirmed' THEN a.points ELSE -v.extra_points END)::bigint
               AS points,
           coalesce(sum((a.minutes - a.next_day_minutes) * a.points_per_hour
                        + a.next_day_minutes * a.next_points_per_hour)
                    FILTER (WHERE r.status = 'confirmed'), 0)::bigint AS exact
    FROM service_award a
    JOIN service_record r USING (bank_id, record_id)
    LEFT JOIN award_reversal v USING (bank_id, record_id)
    GROUP BY bank_id, r.person_id, r.category_id) AS earned
    USING (bank_id, person_id, category_id)
WHERE ($1::integer IS NULL OR bank_id = $1)
  AND (earned.exact / 60 = earned.points AND earned.exact % 60 = c.remainder) IS NOT TRUE;

-- name: reversals_with_wrong_roundings
SELECT v.bank_id, format('reversal of record %s', v.record_id),
       format('%s points by transfer %s beside the award, with the rest to %s/60', v.extra_points,
              coalesce(v.extra_transfer_id::text, 'none'), v.remainder_before
              - (a.minutes - a.next_day_minutes) * a.points_per_hour
              - a.next_day_minutes * a.next_points_per_hour + 60 * (a.points + v.extra_points)),
       format('%s of %s from the %s to the %s, to %s/60', coalesce(t.kind::text, 'no transfer'),
              t.amount, d.kind, c.kind, v.remainder_after)
FROM award_reversal v
JOIN service_award a USING (bank_id, record_id)
JOIN service_record r USING (bank_id, record_id)
LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (v.bank_id, v.extra_transfer_id)
LEFT JOIN account d ON (d.bank_id, d.account_id) = (v.bank_id, t.debit_account_id)
LEFT JOIN account c ON (c.bank_id, c.account_id) = (v.bank_id, t.credit_account_id)
WHERE ($1::integer IS NULL OR v.bank_id = $1)
  AND (CASE v.extra_points
           WHEN 0 THEN v.extra_transfer_id IS NULL
           ELSE t.kind = 'rounding' AND t.status = 'posted' AND t.amount = abs(v.extra_points)
                AND d.unit = 'points'
                AND CASE v.extra_points WHEN 1 THEN d.kind = 'wallet' AND d.owner_id = r.person_id
                                        ELSE c.kind = 'wallet' AND c.owner_id = r.person_id END
       END
       AND v.remainder_after = v.remainder_before
           - (a.minutes - a.next_day_minutes) * a.points_per_hour
           - a.next_day_minutes * a.next_points_per_hour + 60 * (a.points + v.extra_points))
      IS NOT TRUE;

-- name: roundings_of_no_reversal
SELECT t.bank_id, format('transfer %s', t.transfer_id), 'beside the reversal of one award',
       'of none'
FROM transfer t
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.kind = 'rounding' AND t.status = 'posted'
  AND NOT EXISTS (SELECT FROM award_reversal v
                  WHERE (v.bank_id, v.extra_transfer_id) = (t.bank_id, t.transfer_id));

-- name: records_without_three_persons
SELECT bank_id, format('record %s', record_id), 'made, decided and served by three persons',
       format('by %s, %s and %s', made_by, coalesce(decided_by::text, 'nobody'), person_id)
FROM service_record
WHERE ($1::integer IS NULL OR bank_id = $1)
  AND (made_by = person_id OR decided_by IN (made_by, person_id)
       OR (decided_by IS NULL) <> (status IN ('draft', 'submitted')))
UNION ALL
SELECT bank_id, format('rate %s', rate_id), 'proposed and approved by two persons',
       format('both by %s', approved_by)
FROM rate WHERE ($1::integer IS NULL OR bank_id = $1) AND approved_by = proposed_by;


-- ── Redemption ──────────────────────────────────────────────────────────────────────────────────

-- name: held_accounts_unlike_their_holds
SELECT bank_id, format('account %s', account_id),
       format('%s points in open holds', coalesce(h.points, 0)),
       coalesce(format('balance %s', b.balance), 'no balance')
FROM (SELECT bank_id, account_id, balance FROM account a JOIN balance USING (bank_id, account_id)
      WHERE a.kind = 'held' AND ($1::integer IS NULL OR bank_id = $1)) AS b
FULL JOIN (
    SELECT bank_id, held_account_id AS account_id, sum(quantity::numeric * unit_price) AS points
    FROM hold WHERE state = 'open' AND ($1::integer IS NULL OR bank_id = $1)
    GROUP BY bank_id, held_account_id
) AS h USING (bank_id, account_id)
WHERE coalesce(b.balance, 0) <> coalesce(h.points, 0);

-- name: holds_unlike_their_transfers
SELECT owner.bank_id,
       format('hold %s', coalesce(h.hold_id::text, 'missing, subject ' || t.subject_id)),
       format('held %s, captured %s, released %s, refunded %s between its accounts',
              h.held, h.captured, h.released, h.refunded),
       format('held %s, captured %s, released %s, refunded %s, elsewhere %s',
              t.held, t.captured, t.released, t.refunded, t.elsewhere)
FROM (
    SELECT bank_id, hold_id, quantity::numeric * unit_price AS held,
           captured::numeric * unit_price AS captured, refunded::numeric AS refunded,
           CASE state WHEN 'open' THEN 0
                ELSE (quantity::numeric - captured) * unit_price END AS released
    FROM hold WHERE $1::integer IS NULL OR bank_id = $1
) AS h
FULL JOIN (
    SELECT t.bank_id, t.subject_id, coalesce(sum(amount) FILTER (WHERE kind = 'hold'), 0) AS held,
           coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0) AS captured,
           coalesce(sum(amount) FILTER (WHERE kind = 'release'), 0) AS released,
           coalesce(sum(amount) FILTER (WHERE kind = 'refund'), 0) AS refunded,
           count(*) FILTER (WHERE (debit_account_id, credit_account_id) IS DISTINCT FROM CASE kind
               WHEN 'hold' THEN (source_account_id, held_account_id)
               WHEN 'capture' THEN (held_account_id, merchant_account_id)
               WHEN 'release' THEN (held_account_id, source_account_id)
               ELSE (merchant_account_id, source_account_id) END) AS elsewhere
    FROM transfer t LEFT JOIN hold ON (hold.bank_id, hold.hold_id) = (t.bank_id, t.subject_id)
    WHERE t.status = 'posted' AND kind IN ('hold', 'capture', 'release', 'refund')
      AND ($1::integer IS NULL OR t.bank_id = $1)
    GROUP BY t.bank_id, t.subject_id
) AS t ON (t.bank_id, t.subject_id) = (h.bank_id, h.hold_id)
CROSS JOIN LATERAL (SELECT coalesce(h.bank_id, t.bank_id) AS bank_id) AS owner
WHERE (h.held, h.captured, h.released, h.refunded, 0)
      IS DISTINCT FROM (t.held, t.captured, t.released, t.refunded, t.elsewhere);

-- name: holds_unlike_their_acts
SELECT bank_id, format('hold %s', hold_id),
       format('%s by one act at %s, captured %s of %s, within %s and %s',
              coalesce(h.state::text, 'missing'), h.ended_at, h.captured, h.quantity, h.placed_at,
              h.expires_at),
       format('placed %s times at %s for %s, ended %s times by %s at %s, captured %s',
              coalesce(a.places, 0), a.placed_at, a.quantity, coalesce(a.ends, 0), a.ended_by,
              a.ended_at, a.captured)
FROM (SELECT * FROM hold WHERE $1::integer IS NULL OR bank_id = $1) AS h
FULL JOIN (
    SELECT bank_id, hold_id, count(*) FILTER (WHERE kind = 'hold') AS places,
           max(recorded_at) FILTER (WHERE kind = 'hold') AS placed_at,
           max(quantity) FILTER (WHERE kind = 'hold') AS quantity,
           max(expires_at) FILTER (WHERE kind = 'hold') AS expires_at,
           count(*) FILTER (WHERE kind IN ('capture', 'release', 'expire')) AS ends,
           max(kind::text) FILTER (WHERE kind IN ('capture', 'release', 'expire')) AS ended_by,
           max(recorded_at) FILTER (WHERE kind IN ('capture', 'release', 'expire')) AS ended_at,
           coalesce(sum(quantity) FILTER (WHERE kind = 'capture'), 0) AS captured
    FROM redemption_act
    WHERE status = 'done' AND kind IN ('hold', 'capture', 'release', 'expire', 'refund')
      AND ($1::integer IS NULL OR bank_id = $1)
    GROUP BY bank_id, hold_id
) AS a USING (bank_id, hold_id)
WHERE (a.places = 1 AND a.ends = CASE h.state WHEN 'open' THEN 0 ELSE 1 END
       AND (h.placed_at, h.quantity, h.expires_at, h.captured)
           = (a.placed_at, a.quantity, a.expires_at, a.captured)
       AND h.ended_at IS NOT DISTINCT FROM a.ended_at
       AND CASE h.state WHEN 'captured' THEN a.ended_by = 'capture' AND a.ended_at < h.expires_at
                        WHEN 'released' THEN a.ended_by = 'release' AND a.ended_at < h.expires_at
                        WHEN 'expired' THEN a.ended_by = 'expire' AND a.ended_at >= h.expires_at
                        ELSE true END) IS NOT TRUE;

-- name: slips_unlike_their_holds
SELECT bank_id, format('slip %s of hold %s', s.number, hold_id),
       'an open amount, signed with a key for slips, held beyond what is printed, taken whole '
       'by its number',
       format('channel %s, offer %s, key for %s, %s to %s of %s to %s, %s, %s of %s%s', h.channel,
              h.offer_id, k.purpose, s.issued_at, s.expires_at, h.placed_at, h.expires_at, h.state,
              h.captured, h.quantity, CASE WHEN by_number THEN '' ELSE ' by another number' END)
FROM (SELECT * FROM slip WHERE $1::integer IS NULL OR bank_id = $1) AS s
FULL JOIN (
    SELECT bank_id, hold_id, merchant_id, channel, offer_id, unit_price, placed_at, expires_at,
           state, captured, quantity
    FROM hold
    WHERE ($1::integer IS NULL OR bank_id = $1) AND (channel = 'slip' OR EXISTS (
        SELECT FROM slip WHERE (slip.bank_id, slip.hold_id) = (hold.bank_id, hold.hold_id)))
) AS h USING (bank_id, hold_id)
LEFT JOIN signing_key k USING (bank_id, key_id)
CROSS JOIN LATERAL (
    SELECT NOT EXISTS (SELECT FROM redemption_act a
                       WHERE (a.bank_id, a.hold_id) = (h.bank_id, h.hold_id)
                         AND (a.kind, a.status) = ('capture', 'done') AND a.fingerprint <> sha256(
                             convert_to(ROW('slip', s.number, h.merchant_id)::text, 'UTF8')))
) AS captured (by_number)
WHERE (h.channel = 'slip' AND h.offer_id IS NULL AND h.unit_price = 1 AND k.purpose = 'slip'
       AND s.issued_at = date_trunc('second', h.placed_at) AND s.expires_at <= h.expires_at
       AND s.expires_at <= s.issued_at + interval '14 days' AND s.number % 97 = 1 AND by_number
       AND h.state <> 'released' AND h.captured IN (0, h.quantity)) IS NOT TRUE;

-- name: stocks_unlike_their_acts
SELECT bank_id, format('stock %s', offer_id),
       format('%s brought in less %s gone', coalesce(m.units, 0), coalesce(g.units, 0)),
       coalesce(format('available %s', s.available), 'no stock')
FROM (SELECT * FROM stock WHERE $1::integer IS NULL OR bank_id = $1) AS s
FULL JOIN (
    SELECT bank_id, offer_id, sum(quantity) AS units FROM redemption_act
    WHERE kind = 'restock' AND status = 'done' AND ($1::integer IS NULL OR bank_id = $1)
    GROUP BY bank_id, offer_id
) AS m USING (bank_id, offer_id)
FULL JOIN (
    SELECT bank_id, offer_id, sum(CASE state WHEN 'open' THEN quantity::numeric
                                             ELSE captured::numeric - returned END) AS units
    FROM hold JOIN offer USING (bank_id, offer_id)
    WHERE is_stocked AND ($1::integer IS NULL OR bank_id = $1)
    GROUP BY bank_id, offer_id
) AS g USING (bank_id, offer_id)
WHERE s.available IS DISTINCT FROM coalesce(m.units, 0) - coalesce(g.units, 0) OR s.available < 0;

-- name: refunds_unlike_their_acts
SELECT h.bank_id, format('hold %s', h.hold_id),
       format('refunded %s, returned %s, of %s captured at %s',
              coalesce(a.points, 0), coalesce(a.returned, 0), h.captured, h.unit_price),
       format('refunded %s, returned %s, first at %s', h.refunded, h.returned, a.first_at)
FROM hold h LEFT JOIN (
    SELECT bank_id, hold_id, sum(points) AS points, sum(quantity) AS returned,
           min(recorded_at) AS first_at
    FROM redemption_act WHERE kind = 'refund' AND status = 'done'
    GROUP BY bank_id, hold_id
) AS a USING (bank_id, hold_id)
WHERE ($1::integer IS NULL OR h.bank_id = $1)
  AND ((h.refunded, h.returned) <> (coalesce(a.points, 0), coalesce(a.returned, 0))
       OR h.refunded NOT BETWEEN 0 AND h.captured::numeric * h.unit_price
       OR h.returned NOT BETWEEN 0 AND h.captured OR a.first_at < h.ended_at);

-- name: settlements_out_of_line
-- One follows another: numbers, lines, and what is carried in points and parts of a fen.
SELECT bank_id, format('settlement %s', settlement_id),
       format('number %s from line %s, carries %s and %s in; all before are closed',
              place, last_before + 1, carried_before, remainder_before),
       format('number %s from line %s, carries %s and %s in, %s after %s',
              number, first_seq, carried_in, remainder_in, state, state_before)
FROM (SELECT *, row_number() OVER places AS place,
             lag(last_seq, 1, 0::bigint) OVER places AS last_before,
             lag(coalesce(carried_out, 0), 1, 0::bigint) OVER places AS carried_before,
             lag(coalesce(remainder_out, 0), 1, 0) OVER places AS remainder_before,
             lag(state, 1, 'closed') OVER places AS state_before
      FROM settlement WHERE $1::integer IS NULL OR bank_id = $1
      WINDOW places AS (PARTITION BY bank_id, merchant_id ORDER BY number)) AS s
WHERE (number, first_seq, carried_in, remainder_in, state_before)
      IS DISTINCT FROM (place, last_before + 1, carried_before, remainder_before, 'closed')
   OR last_seq < first_seq;

-- name: settlements_unlike_their_lines
SELECT s.bank_id, format('settlement %s', s.settlement_id),
       format('%s lines of %s: captured %s, refunded %s, reissued %s, recorded before the cut-off '
              'and the next not', s.last_seq - s.first_seq + 1, a.account_id, lines.captured,
              lines.refunded, lines.reissued),
       format('%s lines of %s: captured %s, refunded %s, reissued %s; %s to %s, cut off at %s',
              lines.count, s.account_id, s.captured, s.refunded, s.reissued, lines.last_at,
              after.recorded_at, s.cut_off)
FROM settlement s
LEFT JOIN account a ON a.bank_id = s.bank_id AND a.owner_id = s.merchant_id
                   AND (a.kind, a.unit) = ('merchant', 'points')
CROSS JOIN LATERAL (
    SELECT count(*) AS count, max(p.recorded_at) AS last_at,
           coalesce(sum(p.amount) FILTER (WHERE t.kind = 'capture'), 0) AS captured,
           coalesce(-sum(p.amount) FILTER (WHERE t.kind = 'refund'), 0) AS refunded,
           coalesce(-sum(p.amount) FILTER (
               WHERE t.kind NOT IN ('capture', 'refund', 'settlement')), 0) AS reissued
    FROM posting p JOIN transfer t USING (bank_id, transfer_id)
    WHERE p.bank_id = s.bank_id AND p.account_id = s.account_id
      AND p.seq BETWEEN s.first_seq AND s.last_seq
) AS lines
LEFT JOIN posting after ON (after.bank_id, after.account_id, after.seq)
                           = (s.bank_id, s.account_id, s.last_seq + 1)
WHERE ($1::integer IS NULL OR s.bank_id = $1)
  AND ((s.account_id, s.last_seq - s.first_seq + 1, s.captured, s.refunded, s.reissued)
       IS DISTINCT FROM (a.account_id, lines.count, lines.captured, lines.refunded, lines.reissued)
       OR lines.last_at >= s.cut_off OR after.recorded_at < s.cut_off);

-- name: settlements_unlike_their_payments
SELECT s.bank_id, format('settlement %s', s.settlement_id),
       'what is due is paid by its transfer or carried, in points and fen; approved by two',
       format('%s: paid %s by %s, carried %s, %s fen and %s parts, approved by %s and %s', s.state,
              s.paid, coalesce(t.amount::text, 'none'), s.carried_out, s.fen, s.remainder_out,
              s.first_approver, s.second_approver)
FROM settlement s
LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (s.bank_id, s.settlement_id)
                    AND t.status = 'posted'
WHERE ($1::integer IS NULL OR s.bank_id = $1) AND CASE s.state
    WHEN 'closed' THEN (
        coalesce(t.amount, 0) = s.paid
        AND (t.transfer_id IS NULL
             OR (t.kind, t.debit_account_id) = ('settlement', s.account_id))
        AND s.carried_out = s.carried_in + s.captured - s.refunded - s.reissued - s.paid
        AND (s.paid = 0 OR s.carried_out >= 0)
        AND s.remainder_out BETWEEN 0 AND 9999
        AND coalesce(s.fen, 0)::numeric * 10000 + s.remainder_out
            = s.paid::numeric * coalesce(s.fen_rate, 0) + s.remainder_in
        AND s.first_approver <> s.second_approver) IS NOT TRUE
    ELSE t.transfer_id IS NOT NULL
         OR s.state = 'approved' AND (s.first_approver <> s.second_approver) IS NOT TRUE END;

-- name: payments_without_settlement
SELECT t.bank_id, format('transfer %s', t.transfer_id), 'a closed settlement of this id', 'none'
FROM transfer t
LEFT JOIN settlement s ON (s.bank_id, s.settlement_id) = (t.bank_id, t.transfer_id)
                      AND s.state = 'closed'
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.kind = 'settlement' AND t.status = 'posted'
  AND s.settlement_id IS NULL;

-- name: caps_unlike_their_use
SELECT bank_id, format('cap %s of %s, offer %s, on %s', scope, subject_id, offer_id, used_on),
       coalesce(told.used, 0), coalesce(u.used, 0)
FROM (SELECT bank_id, scope::text, subject_id, offer_id, used_on, used FROM cap_use
      WHERE $1::integer IS NULL OR bank_id = $1) AS u
FULL JOIN (
    SELECT h.bank_id, key.scope, key.subject_id, key.offer_id, key.used_on, sum(key.used) AS used
    FROM (SELECT *, CASE state WHEN 'open' THEN quantity ELSE captured END::numeric AS counted
          FROM hold WHERE $1::integer IS NULL OR bank_id = $1) AS h
    CROSS JOIN LATERAL (VALUES
        ('person_day', h.resident_id, timebank.nil_id(), h.placed_on, counted * unit_price, true),
        ('card_day', h.resident_id, timebank.nil_id(), h.placed_on, counted * unit_price,
         h.channel = 'card'),
        ('merchant_day', h.merchant_id, timebank.nil_id(), h.placed_on, counted * unit_price, true),
        ('offer_person_day', h.resident_id, h.offer_id, h.placed_on, counted,
         h.offer_id IS NOT NULL),
        ('offer_person', h.resident_id, h.offer_id, '-infinity', counted, h.offer_id IS NOT NULL)
    ) AS key (scope, subject_id, offer_id, used_on, used, counts)
    WHERE counts GROUP BY h.bank_id, key.scope, key.subject_id, key.offer_id, key.used_on
    UNION ALL
    SELECT bank_id, 'clerk_day', actor_id, timebank.nil_id(),
           (recorded_at AT TIME ZONE time_zone)::date, sum(points)
    FROM redemption_act JOIN bank USING (bank_id)
    LEFT JOIN (SELECT bank_id, hold_id, channel FROM hold) AS h USING (bank_id, hold_id)
    WHERE kind = 'capture' AND status = 'done' AND ($1::integer IS NULL OR bank_id = $1)
      AND channel IS DISTINCT FROM 'slip'
    GROUP BY bank_id, actor_id, (recorded_at AT TIME ZONE time_zone)::date
    UNION ALL
    SELECT g.bank_id, CASE g.kind WHEN 'gift' THEN 'gift_day' ELSE 'reissue_day' END, a.owner_id,
           timebank.nil_id(), (g.recorded_at AT TIME ZONE b.time_zone)::date, sum(t.amount)
    FROM redemption_act g JOIN bank b USING (bank_id)
    JOIN transfer t ON (t.bank_id, t.transfer_id) = (g.bank_id, g.act_id) AND t.status = 'posted'
    JOIN account a ON (a.bank_id, a.account_id) = (t.bank_id, t.debit_account_id)
    WHERE g.kind IN ('gift', 'reissue') AND g.status = 'done' AND a.owner_id IS NOT NULL
      AND ($1::integer IS NULL OR g.bank_id = $1)
    GROUP BY g.bank_id, g.kind, a.owner_id, (g.recorded_at AT TIME ZONE b.time_zone)::date
) AS told USING (bank_id, scope, subject_id, offer_id, used_on)
WHERE coalesce(told.used, 0) <> coalesce(u.used, 0);

-- name: gifts_unlike_their_transfers
SELECT g.bank_id, format('act %s', g.act_id), format('%s of %s, posted', g.kind, g.points),
       coalesce(format('%s of %s, %s', t.kind, t.amount, t.status), 'no transfer')
FROM redemption_act g LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (g.bank_id, g.act_id)
WHERE ($1::integer IS NULL OR g.bank_id = $1) AND g.status = 'done'
  AND g.kind IN ('gift', 'reissue', 'allocate')
  AND (t.status = 'posted' AND t.amount = g.points
       AND t.kind::text = CASE g.kind WHEN 'allocate' THEN 'transfer' ELSE g.kind::text END
      ) IS NOT TRUE;

-- name: gifts_without_an_act
SELECT t.bank_id, format('transfer %s', t.transfer_id), format('a %s done under this id', t.kind),
       coalesce(format('%s, %s', g.kind, g.status), 'none')
FROM transfer t LEFT JOIN redemption_act g ON (g.bank_id, g.act_id) = (t.bank_id, t.transfer_id)
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.status = 'posted'
  AND t.kind IN ('gift', 'reissue')
  AND (g.kind::text = t.kind::text AND g.status = 'done') IS NOT TRUE;

-- name: caps_exceeded
-- The highest cap that was in force at any instant of the day, and what overrides let pass.
SELECT u.bank_id, format('cap %s of %s, offer %s, on %s', scope, subject_id, offer_id, used_on),
       format('%s at most, and %s by overrides', cap.points, coalesce(passed.amount, 0)), u.used
FROM cap_use u JOIN bank b USING (bank_id)
CROSS JOIN LATERAL (
    SELECT (u.used_on::timestamp AT TIME ZONE b.time_zone) AS first,
           ((u.used_on + 1)::timestamp AT TIME ZONE b.time_zone) AS last
) AS day
CROSS JOIN LATERAL (
    SELECT CASE u.scope WHEN 'offer_person' THEN o.per_person ELSE o.per_person_day END AS points
    FROM offer o WHERE u.scope IN ('offer_person', 'offer_person_day')
      AND (o.bank_id, o.offer_id) = (u.bank_id, u.offer_id)
    UNION ALL
    SELECT CASE WHEN bool_or(at.points IS NULL) THEN NULL ELSE max(at.points) END
    FROM (SELECT timebank.find_cap(u.bank_id, u.scope, u.subject_id, u.offer_id, instant) AS points
          FROM (SELECT day.first AS instant
                UNION ALL
                SELECT in_force_from FROM cap_rule r
                WHERE (r.bank_id, r.scope) = (u.bank_id, u.scope)
                  AND r.subject_id IN (u.subject_id, timebank.nil_id())
                  AND in_force_from >= day.first AND in_force_from < day.last) AS change) AS at
    WHERE u.scope NOT IN ('offer_person', 'offer_person_day')
) AS cap
LEFT JOIN LATERAL (
    SELECT sum(o.amount) AS amount
    FROM cap_override o JOIN redemption_act a ON (a.bank_id, a.act_id) = (o.bank_id, o.used_by)
    WHERE (o.bank_id, o.scope, o.subject_id, o.offer_id)
          = (u.bank_id, u.scope, u.subject_id, u.offer_id)
      AND (u.scope = 'offer_person' OR a.recorded_at >= day.first AND a.recorded_at < day.last)
) AS passed ON true
WHERE ($1::integer IS NULL OR u.bank_id = $1) AND u.used > cap.points + coalesce(passed.amount, 0);

-- name: redemptions_of_hours
SELECT t.bank_id, format('transfer %s', transfer_id), format('%s of points', t.kind),
       format('from an account of %s', a.unit)
FROM transfer t JOIN account a ON (a.bank_id, a.account_id) = (t.bank_id, t.debit_account_id)
WHERE ($1::integer IS NULL OR t.bank_id = $1) AND t.status = 'posted' AND a.unit <> 'points'
  AND t.kind IN ('hold', 'capture', 'release', 'refund', 'reissue', 'settlement');


-- name: certificates_that_do_not_stand
SELECT c.bank_id, format('certificate %s', c.certificate_id),
       format('%s minutes of its lines, signed so; valid only of confirmed records',
              coalesce(l.minutes, 0)),
       format('%s minutes, signed %s, %s, %s records not confirmed as they stand', c.minutes,
              c.statement::jsonb ->> 'minutes', c.status, coalesce(l.wrong, 0))
FROM certificate c
LEFT JOIN LATERAL (
    SELECT sum(l.minutes) AS minutes,
           count(*) FILTER (WHERE (r.status = 'confirmed' AND r.minutes = l.minutes
                                   AND r.person_id = c.person_id) IS NOT TRUE) AS wrong
    FROM certificate_line l LEFT JOIN service_record r USING (bank_id, record_id)
    WHERE l.bank_id = c.bank_id AND l.certificate_id = c.certificate_id) AS l ON true
WHERE ($1::integer IS NULL OR c.bank_id = $1)
  AND ((c.minutes = l.minutes AND c.minutes = (c.statement::jsonb ->> 'minutes')::bigint)
           IS NOT TRUE
       OR c.status = 'valid' AND l.wrong > 0);

-- name: spent_below_what_was_blocked
-- What came back of a redemption is left out: less is blocked by it here, never more.
SELECT line.bank_id, format('posting %s/%s', line.account_id, line.seq),
       format('%s left at least', blocked.points), line.balance_after
FROM (SELECT DISTINCT bank_id, account_id FROM blocked_points
      WHERE $1::integer IS NULL OR bank_id = $1) AS wallet
JOIN posting line USING (bank_id, account_id)
JOIN transfer t USING (bank_id, transfer_id)
CROSS JOIN LATERAL (
    SELECT sum(p.points) AS points FROM blocked_points p JOIN block b USING (bank_id, block_id)
    WHERE p.bank_id = line.bank_id AND p.account_id = line.account_id AND p.hold_id IS NULL
      AND p.since_seq < line.seq AND coalesce(b.lifted_at, 'infinity') > line.recorded_at
      AND NOT EXISTS (SELECT FROM transfer undone
                      WHERE undone.bank_id = p.bank_id AND undone.reverses_id = p.origin_id
                        AND undone.status = 'posted' AND undone.recorded_at <= line.recorded_at)
) AS blocked
WHERE line.amount < 0 AND timebank.is_spending(t.kind) AND line.balance_after < blocked.points;

-- name: blocks_unlike_their_holds
SELECT bank_id, format('block %s', block_id),
       CASE WHEN h.hold_id IS NULL THEN 'that of an activity''s hold'
            ELSE format('of %s points, %s', b.points,
                        coalesce('lifted as the hold was released, ' || h.released_at,
                                 'in force like the hold')) END,
       CASE WHEN b.block_id IS NULL THEN format('no block of its %s points', p.points)
            ELSE format('of %s points, %s', coalesce(p.points, 0),
                        coalesce('lifted ' || b.lifted_at, 'in force')) END
FROM (SELECT * FROM block WHERE $1::integer IS NULL OR bank_id = $1) AS b
FULL JOIN (SELECT bank_id, block_id, sum(points) AS points FROM blocked_points
           WHERE $1::integer IS NULL OR bank_id = $1 GROUP BY bank_id, block_id) AS p
          USING (bank_id, block_id)
LEFT JOIN (SELECT bank_id, hold_id AS block_id, hold_id, released_at FROM activity_hold) AS h
          USING (bank_id, block_id)
WHERE (b.points = p.points AND (b.lifted_at IS NULL) = (h.released_at IS NULL)
       AND coalesce(b.lifted_at >= h.released_at, h.hold_id IS NOT NULL)) IS NOT TRUE
UNION ALL
SELECT p.bank_id, format('blocked points of wallet %s in block %s', account_id, block_id),
       format('of an award to it for activity %s, blocked by line %s', h.activity_id, b.seq),
       format('of %s, %s of %s for %s, blocked at line %s', origin_id,
              coalesce(t.kind::text, 'no transfer'), t.amount, t.subject_id, p.since_seq)
FROM blocked_points p
LEFT JOIN balance b USING (bank_id, account_id)
LEFT JOIN activity_hold h ON (h.bank_id, h.hold_id) = (p.bank_id, p.block_id)
LEFT JOIN transfer t ON (t.bank_id, t.transfer_id) = (p.bank_id, p.origin_id)
WHERE ($1::integer IS NULL OR p.bank_id = $1)
  AND (t.status = 'posted' AND t.kind = 'award' AND t.credit_account_id = p.account_id
       AND t.subject_id = h.activity_id AND p.points <= t.amount
       AND p.since_seq BETWEEN t.credit_seq AND b.seq
       AND (p.hold_id IS NOT NULL OR p.behind = 0)) IS NOT TRUE
UNION ALL
SELECT p.bank_id, format('blocked points of wallet %s in block %s', account_id, block_id),
       format('given away to hold %s of the wallet by line %s', hold_id, since_seq), 'not so'
FROM blocked_points p
WHERE ($1::integer IS NULL OR p.bank_id = $1) AND hold_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM posting line JOIN transfer t USING (bank_id, transfer_id)
                  WHERE line.bank_id = p.bank_id AND line.account_id = p.account_id
                    AND line.seq <= p.since_seq
                    AND t.kind = 'hold' AND t.subject_id = p.hold_id);


-- ── Guards ──────────────────────────────────────────────────────────────────────────────────────

-- name: triggers_not_in_force
-- $1 is the text of schema.sql. tgtype: 1 per row, 2 before, 4 insert, 8 delete, 16 update, 32
-- truncate.
WITH steps (relation, name, function, type, arguments) AS (VALUES
    ('service_record', 'record_step', 'check_step', 23,
     '>draft >submitted draft>submitted submitted>confirmed submitted>rejected confirmed>reversed'),
    ('service_record', 'record_reversed_ends_certificates', 'supersede_certificates', 17, ''),
    ('service_record', 'record_of_held_activity_waits', 'refuse_held', 19, ''),
    ('certificate', 'certificate_step', 'check_step', 23,
     '>valid valid>revoked valid>superseded'),
    ('settlement', 'settlement_is_lawful', 'check_settlement', 31, ''),
    ('settlement', 'settlement_is_never_emptied', 'refuse_edit', 34, ''),
    ('block', 'block_is_lawful', 'check_block', 31, ''),
    ('block', 'block_is_never_emptied', 'refuse_edit', 34, '')
), append_only (relation) AS (
    SELECT made[1]
    FROM regexp_matches($1::text, 'make_append_only\(''([a-z_]+)''\)', 'g') AS made
), by_functions (relation) AS (
    SELECT unnest(array['transfer', 'posting', 'request', 'redemption_act'])
), made (relation, name, is_plain) AS (
    SELECT said[2], said[1], said[1] <> 'hold_has_slip' AND said[1] NOT IN (SELECT name FROM steps)
    FROM regexp_matches(
        $1, 'TRIGGER ([a-z_]+) [A-Z ]+(?:OF [a-z_]+ )?\s*ON ([a-z_]+)\s', 'g') AS said
    UNION ALL
    SELECT said[1], said[2] || '_is_sealed', true
    FROM regexp_matches($1, 'make_sealed\(''([a-z_]+)'', ''([a-z_]+)''', 'g') AS said
    UNION ALL
    SELECT said[1], said[1] || '_stays_ended', true
    FROM regexp_matches($1, 'make_final\(''([a-z_]+)''', 'g') AS said
    UNION ALL SELECT relation, relation || '_is_append_only', false FROM append_only
    UNION ALL SELECT relation, relation || '_is_written_by_functions', false FROM by_functions
)
SELECT NULL::integer, format('trigger %s', guard.name),
       format('calls %s, enabled always', guard.function),
       coalesce(format('calls %s, enabled %s', t.tgfoid::regproc, t.tgenabled), 'no such trigger')
FROM (SELECT 'timebank.' || relation, relation || '_is_append_only', 'refuse_edit', 58
      FROM append_only
      UNION ALL SELECT 'vault.access_log', 'access_log_is_append_only', 'refuse_edit', 58
      UNION ALL
      SELECT 'timebank.' || relation, relation || '_is_written_by_functions',
             'refuse_insert_by_hand', 6
      FROM by_functions
     ) AS guard (relation, name, function, type)
LEFT JOIN pg_trigger t ON t.tgname = guard.name AND t.tgrelid = to_regclass(guard.relation)
WHERE (t.tgenabled = 'A' AND t.tgtype = guard.type AND t.tgqual IS NULL
       AND t.tgfoid = to_regproc('timebank.' || guard.function)) IS NOT TRUE
UNION ALL
SELECT NULL, format('trigger %s', guard.name),
       format('calls %s(%s) for each row, enabled always', guard.function,
              replace(guard.arguments, ' ', ', ')),
       coalesce(format('calls %s, enabled %s', t.tgfoid::regproc, t.tgenabled), 'no such trigger')
FROM steps AS guard
LEFT JOIN pg_trigger t ON t.tgname = guard.name
                      AND t.tgrelid = to_regclass('timebank.' || guard.relation)
WHERE (t.tgenabled = 'A' AND t.tgtype = guard.type AND t.tgqual IS NULL
       AND t.tgfoid = to_regproc('timebank.' || guard.function)
       AND rtrim(replace(encode(t.tgargs, 'escape'), '\000', ' ')) = guard.arguments) IS NOT TRUE
UNION ALL
SELECT NULL, format('trigger %s', guard.name),
       'calls check_hold_has_slip for each new hold of a slip, enabled always',
       coalesce(format('%s, enabled %s', pg_get_triggerdef(t.oid), t.tgenabled), 'no such trigger')
FROM (VALUES ('hold_has_slip')) AS guard (name)
LEFT JOIN pg_trigger t ON t.tgname = guard.name AND t.tgrelid = to_regclass('timebank.hold')
WHERE (t.tgenabled = 'A' AND t.tgfoid = to_regproc('timebank.check_hold_has_slip')
       AND pg_get_triggerdef(t.oid) LIKE '% AFTER INSERT ON timebank.hold %FOR EACH ROW '
           'WHEN ((new.channel = ''slip''::%)) EXECUTE %') IS NOT TRUE
UNION ALL
SELECT NULL, format('trigger %s', made.name), format('on %s, enabled', made.relation),
       coalesce(format('enabled %s', t.tgenabled), 'no such trigger')
FROM made
LEFT JOIN (SELECT tgname, relname, tgenabled FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
           WHERE NOT tgisinternal AND c.relnamespace IN (to_regnamespace('timebank'),
                                                         to_regnamespace('vault'))) AS t
          ON (t.tgname, t.relname) = (made.name, made.relation)
WHERE made.is_plain
  AND (t.tgenabled = 'A'
       OR t.tgenabled = 'O' AND strpos($1, format('ALWAYS TRIGGER %s;', made.name)) = 0) IS NOT TRUE
UNION ALL
SELECT NULL, format('trigger %s', t.tgname), 'one that schema.sql makes',
       format('one on %s that calls %s', t.tgrelid::regclass, t.tgfoid::regproc)
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal
  AND c.relnamespace IN (to_regnamespace('timebank'), to_regnamespace('vault'))
  AND (c.relname, t.tgname) NOT IN (SELECT relation, name FROM made);

-- name: tables_altered
-- $1 is the text of schema.sql. A view is compared without what PostgreSQL adds as it prints it:
-- casts, parentheses, the schema's name, space.
SELECT NULL::integer, format('table %s', c.relname),
       'read as it stands, by all: no rule, no row security, no table that inherits',
       concat_ws(', ', 'rule ' || r.rulename, 'inherited by ' || i.inhrelid::regclass,
                 CASE WHEN c.relrowsecurity THEN 'row security' END)
FROM pg_class c
LEFT JOIN pg_rewrite r ON r.ev_class = c.oid AND c.relkind <> 'v'
LEFT JOIN pg_inherits i ON i.inhparent = c.oid
WHERE c.relnamespace IN (to_regnamespace('timebank'), to_regnamespace('vault'))
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
  AND (r.oid IS NOT NULL OR i.inhrelid IS NOT NULL OR c.relrowsecurity)
UNION ALL
SELECT NULL, format('view %s', view.name), 'as in schema.sql', coalesce(view.found, 'none')
FROM (SELECT made[1] AS name, made[2] AS text, pg_get_viewdef(to_regclass('timebank.' || made[1]))
                                               AS found
      FROM regexp_matches($1, 'CREATE VIEW ([a-z_]+) AS\s([^;]+);', 'g') AS made) AS view
WHERE (SELECT count(DISTINCT lower(regexp_replace(
           said, '::(double precision|[a-z_]+)|timebank\.|[\s();]', '', 'g')))
           + count(*) FILTER (WHERE said IS NULL)
       FROM unnest(array[view.text, view.found]) AS said) <> 1;

-- name: constraints_not_in_force
SELECT NULL::integer, format('constraint %s', guard.name), guard.definition,
       coalesce(pg_get_constraintdef(c.oid), 'no such constraint')
FROM (VALUES
    ('posting', 'posting_seq_gapless', 'PRIMARY KEY (bank_id, account_id, seq)'),
    ('transfer', 'transfer_pkey', 'PRIMARY KEY (bank_id, transfer_id)'),
    ('balance', 'balance_pkey', 'PRIMARY KEY (bank_id, account_id)'),
    ('balance', 'balance_not_below_floor', 'CHECK ((balance >= floor))'),
    ('balance', 'balance_not_above_ceiling', 'CHECK ((balance <= ceiling))'),
    ('request', 'request_answered_once', 'PRIMARY KEY (bank_id, caller_id, key)'),
    ('service_award', 'award_once', 'PRIMARY KEY (bank_id, record_id)'),
    ('service_record', 'record_maker_is_another', 'CHECK ((made_by <> person_id))'),
    ('service_record', 'record_checker_is_another',
     'CHECK (((decided_by <> made_by) AND (decided_by <> person_id)))'),
    ('service_record', 'record_no_overlap',
     'EXCLUDE USING gist (bank_id WITH =, person_id WITH =, during WITH &&) '
     'WHERE ((status = ''confirmed''::%))'),
    ('rate', 'rate_approver_is_another', 'CHECK ((approved_by <> proposed_by))'),
    ('redemption_act', 'act_decided_once', 'PRIMARY KEY (bank_id, act_id)'),
    ('hold', 'hold_pkey', 'PRIMARY KEY (bank_id, hold_id)'),
    ('slip', 'slip_number_unique', 'PRIMARY KEY (bank_id, number)'),
    ('slip', 'slip_of_one_hold', 'UNIQUE (bank_id, hold_id)'),
    ('stock', 'stock_not_negative', 'CHECK ((available >= 0))'),
    ('settlement', 'settlement_numbered_once', 'UNIQUE (bank_id, merchant_id, number)')
) AS guard (relation, name, definition)
LEFT JOIN pg_constraint c ON c.conname = guard.name
                         AND c.conrelid = to_regclass('timebank.' || guard.relation)
WHERE (pg_get_constraintdef(c.oid) LIKE guard.definition AND c.convalidated) IS NOT TRUE
UNION ALL
SELECT NULL, format('constraint %s', conname), 'valid for every row', pg_get_constraintdef(oid)
FROM pg_constraint
WHERE connamespace = to_regnamespace('timebank') AND NOT convalidated
UNION ALL
SELECT NULL, 'index transfer_reversed_once',
       'unique and valid, on (bank_id, reverses_id) of what is posted',
       coalesce(pg_get_indexdef(i.indexrelid), 'no such index')
FROM (VALUES ('timebank.transfer_reversed_once')) AS guard (name)
LEFT JOIN pg_index i ON i.indexrelid = to_regclass(guard.name)
WHERE (i.indisunique AND i.indisvalid AND i.indisready
       AND pg_get_indexdef(i.indexrelid) LIKE '% ON timebank.transfer USING btree '
           '(bank_id, reverses_id) WHERE ((reverses_id IS NOT NULL) AND (status = ''posted''::%))'
      ) IS NOT TRUE;

-- name: rights_too_wide
SELECT NULL::integer, format('role %s', login.role),
       format('no %s on %s', asked.privilege, history.name), 'granted'
FROM unnest(array['timebank_app', 'timebank_auditor', 'timebank_vault']) AS login (role)
CROSS JOIN unnest(array['transfer', 'posting', 'request', 'balance', 'account', 'expiry_rule',
                        'redemption_act', 'hold', 'stock', 'cap_use', 'cap_override', 'branch',
                        'branch_move', 'placement', 'service_point', 'service_award',
                        'award_reversal', 'carry', 'settlement', 'certificate',
                        'certificate_line', 'activity_hold', 'record_grade', 'block',
                        'blocked_points', 'slip']) AS history (name)
CROSS JOIN unnest(array['INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER'])
           AS asked (privilege)
WHERE has_table_privilege(login.role, to_regclass('timebank.' || history.name), asked.privilege)
   OR asked.privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(
          login.role, to_regclass('timebank.' || history.name), asked.privilege)
UNION ALL
SELECT NULL, format('role %s', r.rolname), 'owns nothing',
       format('owns %s', pg_describe_object(d.classid, d.objid, d.objsubid))
FROM pg_shdepend d JOIN pg_roles r ON r.oid = d.refobjid
WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o'
  AND r.rolname IN ('timebank_app', 'timebank_auditor')
  AND (SELECT oid FROM pg_database WHERE datname = current_database())
      IN (d.dbid, CASE WHEN d.classid = 'pg_database'::regclass THEN d.objid END)
UNION ALL
SELECT NULL, format('role %s', r.rolname), 'no superuser and no member of timebank_owner',
       CASE WHEN r.rolsuper THEN 'a superuser' ELSE 'a member' END
FROM pg_roles r
WHERE r.rolname IN ('timebank_app', 'timebank_auditor')
  AND (r.rolsuper OR pg_has_role(r.rolname, 'timebank_owner', 'MEMBER'));

-- name: rights_never_given
-- $1 is the text of schema.sql: whatever role has a right that none of its GRANTs gives.
WITH said AS (
    SELECT act[1] AS act, act[2] AS rights, btrim(act[3], E' \n') AS objects, role
    FROM regexp_matches(
             regexp_replace($1::text, '--[^\n]*', '', 'g'),
             '^(GRANT|REVOKE) ([^;]+?)\sON\s+([^;]+?)\s(?:TO|FROM)\s+([^;]+);', 'gw') AS act
    CROSS JOIN LATERAL regexp_split_to_table(act[4], ',\s*') AS role
), named AS (
    SELECT act, role, given[1] AS privilege, given[2] AS columns, object
    FROM said
    CROSS JOIN LATERAL regexp_matches(rights, '([A-Z]+)\s*(?:\(([^)]*)\))?', 'g') AS given
    CROSS JOIN LATERAL regexp_split_to_table(
        regexp_replace(objects, '^(FUNCTION|SCHEMA)\s+', ''), ',\s*') AS object
), given (object, part, role, privilege) AS (
    SELECT object, part, role, privilege
    FROM named LEFT JOIN LATERAL regexp_split_to_table(columns, ',\s*') AS part ON true
    WHERE act = 'GRANT' AND object <> 'ALL TABLES IN SCHEMA timebank'
    UNION ALL
    (SELECT c.relname, NULL, role, privilege
     FROM named JOIN pg_class c ON c.relnamespace = to_regnamespace('timebank')
     WHERE act = 'GRANT' AND object = 'ALL TABLES IN SCHEMA timebank'
     EXCEPT SELECT object, NULL, role, privilege FROM named WHERE act = 'REVOKE')
), acl (object, part, owner, rights) AS (
    SELECT nspname, NULL, nspowner, nspacl FROM pg_namespace
    WHERE nspname IN ('timebank', 'vault')
    UNION ALL
    SELECT relname, NULL, relowner, relacl FROM pg_class
    WHERE relnamespace IN (to_regnamespace('timebank'), to_regnamespace('vault'))
    UNION ALL
    SELECT relname, attname, relowner, attacl FROM pg_class JOIN pg_attribute ON attrelid = oid
    WHERE relnamespace IN (to_regnamespace('timebank'), to_regnamespace('vault'))
    UNION ALL
    SELECT proname, NULL, proowner, coalesce(proacl, acldefault('f', proowner)) FROM pg_proc
    WHERE pronamespace IN (to_regnamespace('timebank'), to_regnamespace('vault'))
)
SELECT NULL::integer, format('role %s', who.name), format('no %s on %s', held.privilege_type,
                                                          concat_ws('.', object, part)),
       CASE WHEN held.is_grantable THEN 'granted, to grant on' ELSE 'granted' END
FROM acl
CROSS JOIN LATERAL aclexplode(acl.rights) AS held
LEFT JOIN pg_roles r ON r.oid = held.grantee
CROSS JOIN LATERAL (SELECT coalesce(r.rolname, 'public')) AS who (name)
WHERE held.grantee <> acl.owner
  AND (held.is_grantable OR (object, coalesce(part, ''), who.name, held.privilege_type)
       NOT IN (SELECT object, coalesce(part, ''), role, privilege FROM given))
UNION ALL
SELECT NULL, format('role %s', pg_get_userbyid(owned.owner)), 'owns nothing',
       format('owns %s', owned.name)
FROM (SELECT relowner AS owner, relnamespace AS schema, relname AS name FROM pg_class
      UNION ALL SELECT proowner, pronamespace, proname FROM pg_proc) AS owned
JOIN (VALUES ('timebank'), ('vault')) AS own (name) ON owned.schema = to_regnamespace(own.name)
WHERE pg_get_userbyid(owned.owner)
      <> CASE own.name WHEN 'vault' THEN 'timebank_vault' ELSE 'timebank_owner' END
UNION ALL
SELECT NULL, format('role %s', r.rolname), 'no member of an owner', format('of %s', o.rolname)
FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.member JOIN pg_roles o ON o.oid = m.roleid
WHERE o.rolname IN ('timebank_owner', 'timebank_vault') AND NOT r.rolsuper
  AND (m.inherit_option OR m.set_option);

-- name: functions_altered
-- $1 is the text of schema.sql: what stands there under the function's name is compared, its body
-- word for word.
SELECT NULL::integer, format('function %s', coalesce(p.proname, made.name)),
       'as schema.sql makes it',
       CASE WHEN p.oid IS NULL THEN 'none'
            WHEN strpos(made.body, format('$$%s$$', p.prosrc)) IS DISTINCT FROM 1
            THEN 'another body'
            ELSE concat_ws(' ', 'language', l.lanname, 'volatility', p.provolatile,
                           CASE WHEN p.prosecdef THEN 'security definer' END,
                           CASE WHEN p.proisstrict THEN 'strict' END,
                           array_to_string(p.proconfig, '; ')) END
FROM (SELECT name[1] AS name,
             regexp_replace(split_part(parts.rest, '$$', 1), '(--[^\n]*)?[\s'']+', ' ', 'g')
                 AS head,
             substr(parts.rest, strpos(parts.rest, '$$')) AS body
      FROM regexp_split_to_table($1::text, '\nCREATE FUNCTION ') WITH ORDINALITY AS parts (rest, n)
      CROSS JOIN LATERAL regexp_match(parts.rest, '^([a-z_]+)\(') AS name
      WHERE n > 1) AS made
FULL JOIN (SELECT * FROM pg_proc WHERE pronamespace IN (to_regnamespace('timebank'),
                                                        to_regnamespace('vault'))) AS p
          ON p.proname = made.name
LEFT JOIN pg_language l ON l.oid = p.prolang
WHERE (strpos(made.body, format('$$%s$$', p.prosrc)) = 1
       AND made.head LIKE format('%% LANGUAGE %s %%', l.lanname)
       AND p.prosecdef = (made.head LIKE '% SECURITY DEFINER %')
       AND p.proisstrict = (made.head LIKE '% STRICT %')
       AND p.provolatile = CASE WHEN made.head LIKE '% IMMUTABLE %' THEN 'i'
                                WHEN made.head LIKE '% STABLE %' THEN 's' ELSE 'v' END
       AND coalesce(cardinality(p.proconfig), 0) = regexp_count(made.head, ' SET [a-z_]+ = ')
       AND NOT EXISTS (
           SELECT FROM unnest(p.proconfig) AS setting
           WHERE strpos(made.head, format(' SET %s = %s ', split_part(setting, '=', 1),
                                          substr(setting, strpos(setting, '=') + 1))) = 0)
      ) IS NOT TRUE;
