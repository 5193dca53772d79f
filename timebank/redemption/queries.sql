-- Queries of redemption. $1 is always the bank.

-- ── Merchants ───────────────────────────────────────────────────────────────────────────────────

-- name: enrol_merchant
INSERT INTO merchant (bank_id, merchant_id, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING;

-- name: list_merchants
SELECT m.merchant_id, m.name, m.enrolled_at, agreed.until AS agreed_until
FROM merchant m
LEFT JOIN LATERAL (
    SELECT max(least(valid_until, ended_at)) AS until FROM agreement a
    WHERE (a.bank_id, a.merchant_id) = (m.bank_id, m.merchant_id)
      AND valid_from <= clock_timestamp() AND clock_timestamp() < least(valid_until, ended_at)
) AS agreed ON true
WHERE m.bank_id = $1 AND m.merchant_id > $2 AND ($3::uuid IS NULL OR m.merchant_id = $3)
ORDER BY m.merchant_id LIMIT $4;

-- name: record_agreement
INSERT INTO agreement (bank_id, merchant_id, reference, valid_from, valid_until, recorded_by)
VALUES ($1, $2, $3, $4, coalesce($5::timestamptz, 'infinity'), $6);

-- name: end_agreement
UPDATE agreement SET ended_at = clock_timestamp()
WHERE bank_id = $1 AND merchant_id = $2 AND reference = $3 AND ended_at IS NULL
RETURNING ended_at;

-- name: list_agreements
SELECT merchant_id, reference, valid_from, nullif(valid_until, 'infinity') AS valid_until,
       recorded_by, recorded_at, ended_at
FROM agreement WHERE bank_id = $1 AND merchant_id = $2 ORDER BY valid_from, reference;

-- name: open_shop
INSERT INTO shop (bank_id, shop_id, merchant_id, name, branch_id) VALUES ($1, $2, $3, $4, $5);

-- name: close_shop
UPDATE shop SET closed_at = clock_timestamp()
WHERE bank_id = $1 AND merchant_id = $2 AND shop_id = $3 AND closed_at IS NULL
RETURNING closed_at;

-- name: list_shops
SELECT shop_id, merchant_id, name, branch_id, closed_at
FROM shop WHERE bank_id = $1 AND merchant_id = $2 ORDER BY shop_id;


-- ── Offers ──────────────────────────────────────────────────────────────────────────────────────

-- name: open_offer
INSERT INTO offer (bank_id, offer_id, merchant_id, title, price, is_stocked, per_person_day,
                   per_person, valid_from, valid_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, coalesce($10::timestamptz, 'infinity'));

-- name: set_offer_places
INSERT INTO offer_place (bank_id, offer_id, shop_id) SELECT $1, $2, unnest($3::uuid[]);

-- name: withdraw_offer
UPDATE offer SET withdrawn_at = clock_timestamp()
WHERE bank_id = $1 AND merchant_id = $2 AND offer_id = $3 AND withdrawn_at IS NULL
RETURNING withdrawn_at;

-- name: list_offers
SELECT o.offer_id, o.merchant_id, o.title, o.price, o.is_stocked, o.per_person_day, o.per_person,
       o.valid_from, nullif(o.valid_until, 'infinity') AS valid_until, o.withdrawn_at,
       CASE WHEN o.is_stocked THEN coalesce(s.available, 0) END AS available,
       array(SELECT shop_id FROM offer_place p
             WHERE (p.bank_id, p.offer_id) = (o.bank_id, o.offer_id) ORDER BY 1) AS shop_ids
FROM offer o LEFT JOIN stock s USING (bank_id, offer_id)
WHERE o.bank_id = $1 AND o.offer_id > $2
  AND ($3::uuid IS NULL OR o.merchant_id = $3) AND ($4::uuid IS NULL OR o.offer_id = $4)
  AND (NOT $5::boolean OR o.withdrawn_at IS NULL AND o.valid_from <= clock_timestamp()
                          AND clock_timestamp() < o.valid_until)
ORDER BY o.offer_id LIMIT $6;

-- name: restock
SELECT * FROM restock($1, $2, $3, $4, $5, $6);


-- ── Holds ───────────────────────────────────────────────────────────────────────────────────────

-- name: quote_hold
SELECT status, cap, points, expires_at
FROM quote_hold($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: place_hold
SELECT is_new, (act).*
FROM place_hold($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15);

-- name: lock_charge
SELECT lock_charge($1, $2, $3, $4, $5, $6);

-- name: capture_hold
SELECT * FROM capture_hold($1, $2, $3, $4, $5, $6, $7, $8);

-- name: release_hold
SELECT * FROM release_hold($1, $2, $3, $4, $5);

-- name: refund_capture
SELECT * FROM refund_capture($1, $2, $3, $4, $5, $6, $7, $8);

-- name: expire_holds
SELECT * FROM expire_holds($1, $2, $3);

-- name: find_hold
SELECT hold_id, resident_id, source_account_id, merchant_id, offer_id, shop_id, channel, quantity,
       unit_price, placed_at, expires_at, state, captured, captured_by, refunded, returned, ended_at
FROM hold WHERE bank_id = $1 AND hold_id = $2;

-- name: list_holds_of_resident
SELECT hold_id, resident_id, source_account_id, merchant_id, offer_id, shop_id, channel, quantity,
       unit_price, placed_at, expires_at, state, captured, captured_by, refunded, returned, ended_at
FROM hold WHERE bank_id = $1 AND resident_id = $2 AND hold_id < $3
ORDER BY hold_id DESC LIMIT $4;

-- name: list_holds_of_merchant
SELECT hold_id, resident_id, source_account_id, merchant_id, offer_id, shop_id, channel, quantity,
       unit_price, placed_at, expires_at, state, captured, captured_by, refunded, returned, ended_at
FROM hold WHERE bank_id = $1 AND merchant_id = $2 AND hold_id < $3
ORDER BY hold_id DESC LIMIT $4;

-- name: list_acts
SELECT act_id, kind, status, cap, quantity, points, actor_id, reason, recorded_at
FROM redemption_act WHERE bank_id = $1 AND hold_id = $2 ORDER BY recorded_at, act_id;

-- name: read_takings
WITH till AS (
    SELECT a.account_id, b.seq,
           date_trunc('day', clock_timestamp() AT TIME ZONE k.time_zone) AT TIME ZONE k.time_zone
               AS since
    FROM account a JOIN balance b USING (bank_id, account_id) JOIN bank k USING (bank_id)
    WHERE a.bank_id = $1 AND a.owner_id = $2 AND (a.kind, a.unit) = ('merchant', 'points')
), first AS (
    SELECT account_id, since, find_last_seq($1, account_id, since, 'infinity') AS seq FROM till
), line AS (
    SELECT t.kind, p.amount
    FROM first f JOIN posting p ON p.bank_id = $1 AND p.account_id = f.account_id AND p.seq > f.seq
    JOIN transfer t ON (t.bank_id, t.transfer_id) = ($1, p.transfer_id)
    WHERE $3::uuid IS NULL OR t.actor_id = $3
)
SELECT (SELECT (since AT TIME ZONE k.time_zone)::date FROM first, bank k WHERE k.bank_id = $1)
           AS taken_on,
       count(*) FILTER (WHERE kind = 'capture') AS captures,
       coalesce(sum(amount) FILTER (WHERE kind = 'capture'), 0)::bigint AS points_captured,
       count(*) FILTER (WHERE kind = 'refund') AS refunds,
       coalesce(-sum(amount) FILTER (WHERE kind = 'refund'), 0)::bigint AS points_refunded
FROM line;


-- ── Codes ───────────────────────────────────────────────────────────────────────────────────────

-- name: issue_payment_code
SELECT issue_payment_code($1, $2, $3, $4, $5, $6);

-- name: renew_pickup_code
SELECT renew_pickup_code($1, $2, $3, $4);

-- name: find_pickup
SELECT status, hold_id FROM find_pickup($1, $2, $3, $4);


-- ── Slips ───────────────────────────────────────────────────────────────────────────────────────

-- name: place_slip
SELECT is_new, (act).* FROM place_slip($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: capture_slip
SELECT is_new, (act).status, (act).hold_id FROM capture_slip($1, $2, $3, $4, $5);

-- name: find_signed_facts
SELECT s.key_id, h.merchant_id, s.number, h.quantity * h.unit_price AS points,
       extract(epoch FROM s.issued_at)::bigint AS issued_at,
       extract(epoch FROM s.expires_at)::bigint AS expires_at
FROM slip s JOIN hold h USING (bank_id, hold_id)
WHERE s.bank_id = $1 AND s.number = $2;

-- name: find_slip
SELECT h.hold_id AS slip_id, s.number, s.key_id, h.resident_id, h.merchant_id,
       m.name AS merchant_name, a.actor_id AS issued_by, h.quantity * h.unit_price AS points,
       s.issued_at, s.expires_at, h.expires_at AS held_until, h.state, h.ended_at
FROM slip s JOIN hold h USING (bank_id, hold_id) JOIN merchant m USING (bank_id, merchant_id)
JOIN redemption_act a ON (a.bank_id, a.act_id) = (h.bank_id, h.hold_id)
WHERE s.bank_id = $1 AND s.hold_id = $2;

-- name: list_slips
SELECT h.hold_id AS slip_id, s.number, s.key_id, h.resident_id, h.merchant_id,
       m.name AS merchant_name, a.actor_id AS issued_by, h.quantity * h.unit_price AS points,
       s.issued_at, s.expires_at, h.expires_at AS held_until, h.state, h.ended_at
FROM hold h JOIN slip s USING (bank_id, hold_id) JOIN merchant m USING (bank_id, merchant_id)
JOIN redemption_act a ON (a.bank_id, a.act_id) = (h.bank_id, h.hold_id)
WHERE h.bank_id = $1 AND h.resident_id = $2 AND h.hold_id < $3
ORDER BY h.hold_id DESC LIMIT $4;


-- ── Caps ────────────────────────────────────────────────────────────────────────────────────────

-- name: set_cap
INSERT INTO cap_rule (bank_id, scope, subject_id, points, set_by) VALUES ($1, $2, $3, $4, $5);

-- name: list_caps
SELECT scope, subject_id, points, in_force_from, set_by
FROM cap_rule WHERE bank_id = $1 ORDER BY scope, subject_id, in_force_from;

-- name: get_used_today
SELECT coalesce(sum(u.used), 0)::bigint
FROM cap_use u JOIN bank b USING (bank_id)
WHERE u.bank_id = $1 AND u.scope IN ('person_day', 'gift_day') AND u.subject_id = $2
  AND u.used_on = (clock_timestamp() AT TIME ZONE b.time_zone)::date;

-- name: grant_override
SELECT grant_override($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_overrides
SELECT o.override_id, o.scope, o.subject_id, o.offer_id, o.amount, o.reason, p.maker_id,
       p.checker_id, o.granted_at, o.expires_at, o.used_by, a.recorded_at AS used_at
FROM cap_override o
JOIN approval p ON (p.bank_id, p.approval_id) = (o.bank_id, o.override_id)
LEFT JOIN redemption_act a ON (a.bank_id, a.act_id) = (o.bank_id, o.used_by)
WHERE o.bank_id = $1 AND o.override_id < $2
  AND ($3::boolean IS NULL OR $3 = (o.used_by IS NOT NULL))
ORDER BY o.override_id DESC LIMIT $4;

-- name: find_scope_of_override
SELECT scope FROM cap_override WHERE bank_id = $1 AND override_id = $2;


-- ── Anomalies ───────────────────────────────────────────────────────────────────────────────────
-- A row for each: whom it is about, with whom, how often.

-- name: persons_near_their_cap
-- Days, not caps: on one day several may be nearly used up.
SELECT u.subject_id, NULL::uuid AS other_id, count(DISTINCT u.used_on) AS times
FROM cap_use u
CROSS JOIN LATERAL (
    SELECT r.points FROM cap_rule r
    WHERE r.bank_id = u.bank_id AND r.scope = u.scope AND r.subject_id IN (u.subject_id, nil_id())
    ORDER BY r.subject_id = u.subject_id DESC, r.in_force_from DESC LIMIT 1
) AS cap
WHERE u.bank_id = $1 AND u.scope IN ('person_day', 'clerk_day', 'gift_day', 'reissue_day')
  AND u.used_on >= $2
  AND u.used BETWEEN cap.points * $3::float8 AND cap.points AND cap.points > 0
GROUP BY u.subject_id HAVING count(DISTINCT u.used_on) >= $4
ORDER BY times DESC, u.subject_id LIMIT $5;

-- name: pairs_again_and_again
SELECT captured_by AS subject_id, resident_id AS other_id, count(*) AS times
FROM hold
WHERE bank_id = $1 AND state = 'captured' AND placed_on >= $2 AND captured_by <> resident_id
GROUP BY captured_by, resident_id HAVING count(*) >= $3
ORDER BY times DESC, captured_by, resident_id LIMIT $4;

-- name: captures_for_oneself
SELECT captured_by AS subject_id, NULL::uuid AS other_id, count(*) AS times
FROM hold
WHERE bank_id = $1 AND state = 'captured' AND placed_on >= $2 AND captured_by = resident_id
GROUP BY captured_by HAVING count(*) >= $3
ORDER BY times DESC, captured_by LIMIT $4;

-- name: refunds_of_others_captures
SELECT a.actor_id AS subject_id, h.captured_by AS other_id, count(*) AS times
FROM redemption_act a JOIN hold h USING (bank_id, hold_id)
WHERE a.bank_id = $1 AND h.placed_on >= $2 AND a.kind = 'refund' AND a.status = 'done'
  AND a.actor_id <> h.captured_by
GROUP BY a.actor_id, h.captured_by HAVING count(*) >= $3
ORDER BY times DESC, a.actor_id, h.captured_by LIMIT $4;

-- name: refunds_to_one_resident
SELECT a.actor_id AS subject_id, h.resident_id AS other_id, count(*) AS times
FROM redemption_act a JOIN hold h USING (bank_id, hold_id)
WHERE a.bank_id = $1 AND h.placed_on >= $2 AND a.kind = 'refund' AND a.status = 'done'
GROUP BY a.actor_id, h.resident_id HAVING count(*) >= $3
ORDER BY times DESC, a.actor_id, h.resident_id LIMIT $4;

-- name: persons_given_to_by_many
SELECT a.owner_id AS subject_id, NULL::uuid AS other_id, count(DISTINCT g.actor_id) AS times
FROM redemption_act g
JOIN transfer t ON (t.bank_id, t.transfer_id) = (g.bank_id, g.act_id)
JOIN account a ON (a.bank_id, a.account_id) = (t.bank_id, t.credit_account_id)
WHERE g.bank_id = $1 AND g.recorded_at >= $2::date AND g.kind = 'gift' AND g.status = 'done'
  AND a.kind = 'wallet'
GROUP BY a.owner_id HAVING count(DISTINCT g.actor_id) >= $3
ORDER BY times DESC, a.owner_id LIMIT $4;

-- name: actors_who_guess_codes
SELECT actor_id AS subject_id, NULL::uuid AS other_id, count(*) AS times
FROM redemption_act
WHERE bank_id = $1 AND recorded_at >= $2::date
  AND status IN ('code_not_valid', 'too_many_wrong_codes')
GROUP BY actor_id HAVING count(*) >= $3
ORDER BY times DESC, actor_id LIMIT $4;

-- name: slips_taken_again
SELECT h.merchant_id AS subject_id, h.resident_id AS other_id, count(*) AS times
FROM redemption_act a JOIN hold h USING (bank_id, hold_id, merchant_id)
WHERE a.bank_id = $1 AND a.recorded_at >= $2::date AND h.channel = 'slip'
  AND (a.kind, a.status) = ('capture', 'hold_already_captured')
GROUP BY h.merchant_id, h.resident_id HAVING count(*) >= $3
ORDER BY times DESC, h.merchant_id, h.resident_id LIMIT $4;


-- ── Settlement ──────────────────────────────────────────────────────────────────────────────────

-- name: draft_settlement
SELECT status, (drafted).* FROM draft_settlement($1, $2, $3, $4, $5, $6);

-- name: approve_settlement
SELECT status, (approved).* FROM approve_settlement($1, $2, $3, $4);

-- name: close_settlement
SELECT status, (closed).* FROM close_settlement($1, $2, $3);

-- name: discard_settlement
SELECT discard_settlement($1, $2);

-- name: find_settlement
SELECT * FROM settlement WHERE bank_id = $1 AND settlement_id = $2;

-- name: list_settlements
SELECT * FROM settlement
WHERE bank_id = $1 AND ($2::uuid IS NULL OR merchant_id = $2)
  AND ($3::uuid IS NULL OR merchant_id IN (
      SELECT party_id FROM list_places($1, 'infinity')
      WHERE branch_id IN (SELECT branch_id FROM list_branches_below($1, $3, 'infinity'))))
  AND ($4::timestamptz IS NULL OR (drafted_at, settlement_id) < ($4, $5::uuid))
ORDER BY drafted_at DESC, settlement_id DESC LIMIT $6;

-- name: list_settlement_lines
SELECT p.seq, p.recorded_at, t.kind, t.transfer_id, p.amount AS points,
       CASE WHEN t.kind IN ('capture', 'refund') THEN t.subject_id END AS hold_id
FROM posting p JOIN transfer t USING (bank_id, transfer_id)
WHERE p.bank_id = $1 AND p.account_id = $2 AND p.seq BETWEEN $3 AND $4
ORDER BY p.seq LIMIT $5;


-- ── Exchange ────────────────────────────────────────────────────────────────────────────────────

-- name: give_points
SELECT act_id, status, cap, hold_id, quantity, points, expires_at, recorded_at
FROM give_points($1, $2, $3, $4, $5, $6, $7, $8);

-- name: share_a_family
SELECT EXISTS (
    SELECT FROM family_member one JOIN family_member other USING (bank_id, family_id)
    WHERE one.bank_id = $1 AND one.member_id = $2 AND one.left_at IS NULL
      AND other.member_id = $3 AND other.left_at IS NULL
      AND one.confirmed_at IS NOT NULL AND other.confirmed_at IS NOT NULL);

-- name: found_family
SELECT found_family($1, $2, $3);

-- name: join_family
INSERT INTO family_member (bank_id, family_id, member_id, may_hold) VALUES ($1, $2, $3, $4)
ON CONFLICT DO NOTHING;

-- name: leave_family
UPDATE family_member SET left_at = clock_timestamp()
WHERE bank_id = $1 AND family_id = $2 AND member_id = $3 AND left_at IS NULL;

-- name: confirm_family_member
SELECT confirm_family_member($1, $2, $3, $4);

-- name: list_family
SELECT family_id, member_id, may_hold, joined_at, left_at, confirmed_at FROM family_member
WHERE bank_id = $1 AND family_id = $2 ORDER BY joined_at, member_id;

-- name: has_members
SELECT EXISTS (SELECT FROM family_member
               WHERE bank_id = $1 AND family_id = $2 AND left_at IS NULL);

-- name: list_families_of_member
SELECT a.account_id, m.family_id, m.may_hold, m.confirmed_at
FROM family_member m
JOIN account a ON (a.bank_id, a.owner_id, a.kind, a.unit) = ($1, m.family_id, 'pool', 'points')
WHERE m.bank_id = $1 AND m.member_id = $2 AND m.left_at IS NULL ORDER BY m.family_id;

-- name: invite_to_family
INSERT INTO family_invitation
       (bank_id, invitation_id, family_id, token_hash, may_hold, invited_by, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, clock_timestamp() + $7)
RETURNING expires_at;

-- name: use_invitation
-- It counts while who made it may spend from the pool, and is confirmed.
UPDATE family_invitation i SET used_by = $3, used_at = clock_timestamp()
WHERE bank_id = $1 AND token_hash = $2 AND used_at IS NULL AND expires_at > clock_timestamp()
  AND EXISTS (SELECT FROM family_member m
              WHERE (m.bank_id, m.family_id, m.member_id) = (i.bank_id, i.family_id, i.invited_by)
                AND m.may_hold AND m.left_at IS NULL AND m.confirmed_at IS NOT NULL)
RETURNING family_id, may_hold;

-- name: set_saturation_bounds
INSERT INTO saturation_rule (bank_id, days, balance, percent_out, set_by)
VALUES ($1, $2, $3, $4, $5);

-- name: find_saturation_bounds
SELECT days, balance, percent_out FROM saturation_rule WHERE bank_id = $1
ORDER BY set_at DESC LIMIT 1;

-- name: saturated_merchants
-- What came in and went out since $2. Points leave by refunds, by being given on and by settlement.
SELECT merchant_id, balance, came_in, went_out,
       CASE WHEN went_out = 0 THEN 'only_fills' ELSE 'fills_faster' END AS reason
FROM (SELECT m.merchant_id, b.balance,
             coalesce(sum(p.amount) FILTER (WHERE p.amount > 0), 0)::bigint AS came_in,
             coalesce(-sum(p.amount) FILTER (WHERE p.amount < 0), 0)::bigint AS went_out
      FROM merchant m
      JOIN account a ON (a.bank_id, a.owner_id, a.kind, a.unit)
                        = (m.bank_id, m.merchant_id, 'merchant', 'points')
      JOIN balance b ON (b.bank_id, b.account_id) = (a.bank_id, a.account_id)
      LEFT JOIN posting p ON p.bank_id = a.bank_id AND p.account_id = a.account_id
                         AND p.recorded_at >= $2
      WHERE m.bank_id = $1 AND b.balance >= $3
      GROUP BY m.merchant_id, b.balance) AS shop
WHERE went_out * 100 <= came_in * $4::integer
ORDER BY balance DESC, merchant_id LIMIT $5;
