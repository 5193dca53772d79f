-- Queries of service. $1 is always the bank.

-- name: lock_imports
SELECT pg_advisory_xact_lock(hashtext('timebank import'), $1);

-- name: has_live_records
SELECT EXISTS (SELECT FROM service_record WHERE bank_id = $1 AND made_by <> $2);

-- name: list_shifts_by_refs
SELECT s.source_ref AS shift_ref, s.served_on, sum(r.minutes)::bigint AS minutes,
       count(*) AS attended, a.source_ref AS event_ref, a.title AS event_name,
       sum(w.points)::bigint AS points
FROM shift s
JOIN activity a USING (bank_id, activity_id)
JOIN service_record r USING (bank_id, shift_id)
JOIN service_award w USING (bank_id, record_id)
WHERE s.bank_id = $1 AND s.source_ref = ANY ($2)
GROUP BY s.bank_id, s.shift_id, a.source_ref, a.title;

-- name: list_titles_by_refs
SELECT source_ref, title FROM activity WHERE bank_id = $1 AND source_ref = ANY ($2);

-- name: register_activities
INSERT INTO activity (bank_id, activity_id, source_ref, title, category_id, organiser_id, made_by)
SELECT $1, id, ref, title, $5, $6, $7
FROM unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS r(id, ref, title, place)
ORDER BY place
ON CONFLICT (bank_id, source_ref) DO NOTHING;

-- name: list_activity_ids_by_refs
SELECT source_ref, activity_id FROM activity WHERE bank_id = $1 AND source_ref = ANY ($2);

-- name: register_shifts
INSERT INTO shift (bank_id, shift_id, activity_id, served_on, source_ref)
SELECT $1, id, activity, served_on, ref
FROM unnest($2::uuid[], $3::uuid[], $4::date[], $5::text[]) AS r(id, activity, served_on, ref);

-- name: count_planned_transfers
SELECT count(*) + count(*) FILTER (WHERE points > 0) FROM plan_awards($1, $2);


-- ── Categories, rates and caps ──────────────────────────────────────────────────────────────────

-- name: open_category
INSERT INTO category (bank_id, category_id, code, name, is_risky) VALUES ($1, $2, $3, $4, $5);

-- name: ensure_category
INSERT INTO category (bank_id, category_id, code, name) VALUES ($1, $2, $3, $4)
ON CONFLICT (bank_id, code) DO NOTHING;

-- name: list_categories
SELECT category_id, code, name, is_risky FROM category WHERE bank_id = $1 ORDER BY code;

-- name: find_category
SELECT category_id, code, name, is_risky FROM category WHERE bank_id = $1 AND category_id = $2;

-- name: find_category_by_code
SELECT category_id, code, name, is_risky FROM category WHERE bank_id = $1 AND code = $2;

-- name: propose_rate
INSERT INTO rate (bank_id, rate_id, category_id, points_per_hour, effective_on, proposed_by)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: approve_rate
SELECT approve_rate($1, $2, $3);

-- name: list_rates
SELECT rate_id, category_id, points_per_hour, effective_on, proposed_by, approved_by
FROM rate WHERE bank_id = $1 AND category_id = $2
  AND ($3::date IS NULL OR (effective_on, rate_id) > ($3, $4))
ORDER BY effective_on, rate_id LIMIT $5;

-- name: find_rate
SELECT rate_id, category_id, points_per_hour, effective_on, proposed_by, approved_by
FROM rate WHERE bank_id = $1 AND rate_id = $2;

-- name: set_caps
INSERT INTO service_cap (bank_id, effective_on, minutes_per_activity, minutes_per_day, set_by)
VALUES ($1, $2, $3, $4, $5);

-- name: list_caps
SELECT effective_on, minutes_per_activity, minutes_per_day FROM service_cap
WHERE bank_id = $1 ORDER BY effective_on;


-- ── Activities and shifts ───────────────────────────────────────────────────────────────────────

-- name: make_activity
INSERT INTO activity (bank_id, activity_id, category_id, title, organiser_id, branch_id,
                      service_point_id, first_start, wall_minutes, rule, capacity, insurance_ref,
                      made_by, planned_until)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: claim_activity_to_plan
SELECT activity_id, planned_until FROM claim_activity_to_plan($1, $2);

-- name: note_planned
SELECT note_planned($1, $2, $3);

-- name: add_teams
INSERT INTO team (bank_id, activity_id, team_id) SELECT $1, $2, unnest($3::uuid[])
ON CONFLICT DO NOTHING;

-- name: keep_code_secret
INSERT INTO code_secret (bank_id, activity_id, secret) VALUES ($1, $2, $3);

-- name: find_code_secret
SELECT secret FROM code_secret WHERE bank_id = $1 AND activity_id = $2;

-- name: list_activities
SELECT a.activity_id, a.category_id, a.title, a.organiser_id, a.branch_id, a.service_point_id,
       a.first_start, a.wall_minutes, a.rule, a.capacity, a.insurance_ref, a.source_ref,
       a.cancelled_at, array(SELECT team_id FROM team t
                             WHERE t.bank_id = a.bank_id AND t.activity_id = a.activity_id
                             ORDER BY joined_at, team_id) AS team_ids
FROM activity a
WHERE a.bank_id = $1 AND ($2::uuid IS NULL OR a.activity_id = $2)
  AND ($3::uuid IS NULL OR a.activity_id > $3)
ORDER BY a.activity_id LIMIT $4;

-- name: list_titles
SELECT activity_id AS subject_id, title FROM activity
WHERE bank_id = $1 AND activity_id = ANY ($2)
UNION ALL
SELECT wish_id, title FROM wish WHERE bank_id = $1 AND wish_id = ANY ($2);

-- name: plan_shifts
INSERT INTO shift (bank_id, shift_id, activity_id, served_on, starts_at, ends_at)
SELECT $1, id, $2, served_on, starts_at, ends_at
FROM unnest($3::uuid[], $4::date[], $5::timestamptz[], $6::timestamptz[])
     AS r(id, served_on, starts_at, ends_at)
ON CONFLICT DO NOTHING
RETURNING shift_id;

-- name: cancel_shifts
SELECT cancel_shifts($1, $2, $3, $4, $5);

-- name: find_shift
SELECT s.shift_id, s.activity_id, a.category_id, s.served_on, s.starts_at, s.ends_at,
       s.cancelled_at
FROM shift s JOIN activity a USING (bank_id, activity_id)
WHERE s.bank_id = $1 AND s.shift_id = $2;

-- name: list_shifts
SELECT s.shift_id, s.activity_id, a.category_id, s.served_on, s.starts_at, s.ends_at,
       s.cancelled_at
FROM shift s JOIN activity a USING (bank_id, activity_id)
WHERE s.bank_id = $1 AND ($2::uuid IS NULL OR s.activity_id = $2)
  AND s.served_on BETWEEN $3 AND $4
ORDER BY s.served_on, s.starts_at, s.shift_id;


-- ── Signing up and attending ────────────────────────────────────────────────────────────────────

-- name: join_shift
SELECT join_shift($1, $2, $3, $4, $5, $6);

-- name: leave_shift
SELECT leave_shift($1, $2, $3, $4);

-- name: list_roster
SELECT place, person_id, team_id, signed_up_at, has_place FROM roster
WHERE bank_id = $1 AND shift_id = $2 ORDER BY place;

-- name: find_roster_entry
SELECT place, person_id, team_id, signed_up_at, has_place
FROM (SELECT * FROM roster WHERE bank_id = $1 AND shift_id = $2) AS entry
WHERE person_id = $3;

-- name: has_team
SELECT EXISTS (SELECT FROM team WHERE bank_id = $1 AND activity_id = $2 AND team_id = $3);

-- name: check_in
INSERT INTO attendance (bank_id, attendance_id, shift_id, person_id, team_id, checked_in_at,
                        checked_in_by, checked_in_means)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE NOT EXISTS (SELECT FROM attendance
                  WHERE bank_id = $1 AND shift_id = $3 AND person_id = $4
                    AND checked_in_at <= $6 AND checked_out_at > $6)
ON CONFLICT (bank_id, shift_id, person_id) WHERE checked_out_at IS NULL DO NOTHING
RETURNING attendance_id;

-- name: check_out
-- A scan that comes in after the planned end was written down says better when they left.
UPDATE attendance SET checked_out_at = $4, checked_out_by = $5, checked_out_means = $6,
                      is_pending = false
WHERE bank_id = $1 AND attendance_id = (
    SELECT attendance_id FROM attendance
    WHERE bank_id = $1 AND shift_id = $2 AND person_id = $3 AND checked_in_at <= $4
      AND (checked_out_at IS NULL OR is_pending)
    ORDER BY checked_in_at DESC LIMIT 1)
RETURNING attendance_id;

-- name: close_forgotten
UPDATE attendance a SET checked_out_at = s.ends_at, checked_out_means = 'planned_end',
                        is_pending = true
FROM shift s
WHERE a.bank_id = $1 AND (s.bank_id, s.shift_id) = (a.bank_id, a.shift_id)
  AND a.checked_out_at IS NULL AND s.ends_at < $2
RETURNING a.attendance_id;

-- name: review_attendance
UPDATE attendance SET checked_out_at = coalesce($3, checked_out_at), checked_out_by = $4,
                      checked_out_means = CASE WHEN $3 IS NULL THEN checked_out_means
                                               ELSE 'review' END,
                      is_pending = false
WHERE bank_id = $1 AND attendance_id = $2 AND is_pending
RETURNING attendance_id;

-- name: find_attendance
SELECT attendance_id, shift_id, person_id, team_id, checked_in_at, checked_in_means,
       checked_out_at, checked_out_means, is_pending
FROM attendance WHERE bank_id = $1 AND attendance_id = $2;

-- name: find_latest_attendance
SELECT attendance_id, shift_id, person_id, team_id, checked_in_at, checked_in_means,
       checked_out_at, checked_out_means, is_pending
FROM attendance WHERE bank_id = $1 AND shift_id = $2 AND person_id = $3
ORDER BY checked_in_at DESC, attendance_id DESC LIMIT 1;

-- name: list_attendances
SELECT attendance_id, shift_id, person_id, team_id, checked_in_at, checked_in_means,
       checked_out_at, checked_out_means, is_pending
FROM attendance WHERE bank_id = $1 AND shift_id = $2
ORDER BY checked_in_at, attendance_id;

-- name: list_scan_outcomes
SELECT scan_id, outcome, (shift_id, person_id, is_arrival, scanned_at)
                         IS NOT DISTINCT FROM (asked.shift, asked.person, asked.arrival, asked.at)
                         AS is_same
FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::boolean[], $6::timestamptz[])
     AS asked (id, shift, person, arrival, at)
JOIN scan ON bank_id = $1 AND scan_id = asked.id;

-- name: keep_scans
INSERT INTO scan (bank_id, scan_id, shift_id, person_id, is_arrival, scanned_at, outcome,
                  uploaded_by)
SELECT $1, id, shift, person, arrival, at, outcome, $8
FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::boolean[], $6::timestamptz[],
            $7::scan_outcome[]) AS r(id, shift, person, arrival, at, outcome);


-- ── Records and awards ──────────────────────────────────────────────────────────────────────────

-- name: make_records
INSERT INTO service_record (
    bank_id, record_id, person_id, category_id, activity_id, shift_id, wish_id, attendance_id,
    served_on, during, minutes, next_day_minutes, occurred_at, source, evidence_sha256, note,
    sheet_number, status, made_by, submitted_at)
SELECT $1, id, person, category, activity, shift, wish, attendance, served_on,
       CASE WHEN ended_at IS NOT NULL THEN tstzrange(occurred_at, ended_at) END,
       minutes, next_day_minutes, occurred_at, $14, sha256, note, sheet, $18::record_status, $19,
       CASE $18::record_status WHEN 'submitted' THEN clock_timestamp() END
FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::uuid[], $8::uuid[],
            $9::date[], $10::timestamptz[], $11::timestamptz[], $12::bigint[], $13::bigint[],
            $15::bytea[], $16::record_note[], $17::text[])
     AS r(id, person, category, activity, shift, wish, attendance, served_on, occurred_at,
          ended_at, minutes, next_day_minutes, sha256, note, sheet);

-- name: list_records
SELECT record_id, person_id, category_id, activity_id, shift_id, wish_id, attendance_id, served_on,
       lower(during) AS started_at, upper(during) AS ended_at, minutes, next_day_minutes, source,
       evidence_sha256, note, sheet_number, status, made_by, decided_by, decided_at
FROM service_record WHERE bank_id = $1 AND record_id = ANY ($2)
ORDER BY array_position($2, record_id);

-- name: list_records_of_person
SELECT record_id, person_id, category_id, activity_id, shift_id, wish_id, attendance_id, served_on,
       lower(during) AS started_at, upper(during) AS ended_at, minutes, next_day_minutes, source,
       evidence_sha256, note, sheet_number, status, made_by, decided_by, decided_at
FROM service_record WHERE bank_id = $1 AND person_id = $2
  AND ($3::date IS NULL OR (served_on, record_id) < ($3, $4))
ORDER BY served_on DESC, record_id DESC LIMIT $5;

-- name: list_records_of_shift
SELECT record_id, person_id, category_id, activity_id, shift_id, wish_id, attendance_id, served_on,
       lower(during) AS started_at, upper(during) AS ended_at, minutes, next_day_minutes, source,
       evidence_sha256, note, sheet_number, status, made_by, decided_by, decided_at
FROM service_record WHERE bank_id = $1 AND shift_id = $2
  AND ($3::uuid IS NULL OR record_id > $3)
ORDER BY record_id LIMIT $4;

-- name: list_unrecorded_attendances
SELECT attendance_id, shift_id, person_id, team_id, checked_in_at, checked_in_means,
       checked_out_at, checked_out_means, is_pending
FROM attendance a
WHERE bank_id = $1 AND shift_id = $2 AND checked_out_at IS NOT NULL AND NOT is_pending
  AND NOT EXISTS (SELECT FROM service_record r
                  WHERE r.bank_id = a.bank_id AND r.attendance_id = a.attendance_id
                    AND r.status IN ('draft', 'submitted', 'confirmed'))
ORDER BY checked_in_at, attendance_id;

-- name: submit_records
SELECT submit_records($1, $2);

-- name: reject_records
SELECT reject_records($1, $2, $3);

-- name: award_service
SELECT record_id, hours_transfer_id, points_transfer_id, minutes, next_day_minutes, rate_id,
       points_per_hour, next_rate_id, next_points_per_hour, remainder_before, points,
       remainder_after, awarded_at
FROM award_service($1, $2, $3, $4, $5);

-- name: find_award
SELECT record_id, hours_transfer_id, points_transfer_id, minutes, next_day_minutes, rate_id,
       points_per_hour, next_rate_id, next_points_per_hour, remainder_before, points,
       remainder_after, awarded_at
FROM service_award WHERE bank_id = $1 AND record_id = $2;

-- name: open_reversal
SELECT status, person_id, occurred_at, subject_id, hours_transfer_id, exact, points, remainder,
       wallet_id, issuance_id
FROM open_reversal($1, $2);

-- name: close_reversal
SELECT close_reversal($1, $2, $3, $4, $5, $6, $7);

-- name: find_award_reversal
SELECT record_id, reversal_id, reversed_by, reason, extra_points, remainder_after, reversed_at
FROM award_reversal WHERE bank_id = $1 AND record_id = $2;

-- name: is_award_of_record
SELECT EXISTS (SELECT FROM service_award
               WHERE bank_id = $1 AND (hours_transfer_id = $2 OR points_transfer_id = $2));

-- name: read_totals
SELECT count(*) AS records, coalesce(sum(r.minutes), 0)::bigint AS minutes,
       coalesce(sum(a.points), 0)::bigint AS points
FROM service_record r JOIN service_award a USING (bank_id, record_id)
WHERE r.bank_id = $1 AND r.person_id = $2 AND r.status = 'confirmed';


-- ── What if ─────────────────────────────────────────────────────────────────────────────────────

-- name: forbid_writing
SET TRANSACTION READ ONLY;

-- name: what_if
WITH part AS (
    SELECT r.person_id, r.category_id, day.minutes, day.in_force,
           coalesce(proposal.points_per_hour, day.in_force) AS proposed
    FROM service_record r
    JOIN service_award a USING (bank_id, record_id)
    CROSS JOIN LATERAL (VALUES
        (r.served_on, a.minutes - a.next_day_minutes, a.points_per_hour),
        (r.served_on + 1, a.next_day_minutes, a.next_points_per_hour)
    ) AS day (day, minutes, in_force)
    LEFT JOIN unnest($4::uuid[], $5::integer[]) AS proposal (category_id, points_per_hour)
           ON proposal.category_id = r.category_id
    WHERE r.bank_id = $1 AND r.status = 'confirmed' AND day.day BETWEEN $2 AND $3
      AND day.minutes > 0
), person AS (
    SELECT category_id, sum(minutes) AS minutes, div(sum(minutes * in_force), 60) AS in_force,
           div(sum(minutes * proposed), 60) AS proposed
    FROM part GROUP BY category_id, person_id
)
SELECT category_id, count(*) AS persons, sum(minutes)::bigint AS minutes,
       sum(in_force)::bigint AS points_in_force, sum(proposed)::bigint AS points_proposed
FROM person GROUP BY category_id ORDER BY category_id;


-- ── Wishes ──────────────────────────────────────────────────────────────────────────────────────

-- name: collect_wish
INSERT INTO wish (bank_id, wish_id, category_id, title, served_id, branch_id, collected_by)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: find_wish
SELECT wish_id, category_id, title, served_id, branch_id, status, assigned_to, record_id
FROM wish WHERE bank_id = $1 AND wish_id = $2;

-- name: lock_wish
SELECT wish_id, category_id, title, served_id, branch_id, status, assigned_to, record_id
FROM wish WHERE bank_id = $1 AND wish_id = $2 FOR NO KEY UPDATE;

-- name: list_wishes
SELECT wish_id, category_id, title, served_id, branch_id, status, assigned_to, record_id
FROM wish WHERE bank_id = $1 AND ($2::wish_status IS NULL OR status = $2)
  AND ($3::uuid IS NULL OR wish_id < $3)
ORDER BY wish_id DESC LIMIT $4;

-- name: assign_wish
UPDATE wish SET status = 'assigned', assigned_to = $3, assigned_by = $4,
                assigned_at = clock_timestamp(), record_id = NULL, done_at = NULL
WHERE bank_id = $1 AND wish_id = $2;

-- name: hand_back_wish
UPDATE wish SET status = 'collected', assigned_to = NULL, assigned_by = NULL, assigned_at = NULL
WHERE bank_id = $1 AND wish_id = $2;

-- name: finish_wish
UPDATE wish SET status = 'done', record_id = $3, done_at = clock_timestamp()
WHERE bank_id = $1 AND wish_id = $2;

-- name: confirm_wish
UPDATE wish SET status = 'confirmed', confirmed_at = clock_timestamp()
WHERE bank_id = $1 AND wish_id = $2;


-- ── Honours ─────────────────────────────────────────────────────────────────────────────────────

-- name: set_star_rule
INSERT INTO star_rule (bank_id, effective_on, hours, grades, set_by) VALUES ($1, $2, $3, $4, $5);

-- name: find_star_rule
SELECT effective_on, hours, grades FROM star_rule
WHERE bank_id = $1 AND effective_on <= $2 ORDER BY effective_on DESC LIMIT 1;

-- name: list_star_rules
SELECT effective_on, hours, grades FROM star_rule WHERE bank_id = $1 ORDER BY effective_on;

-- name: read_merit
SELECT coalesce(sum(r.minutes), 0)::bigint AS minutes,
       floor(100 * avg(g.grade))::integer AS grade
FROM service_record r LEFT JOIN record_grade g USING (bank_id, record_id)
WHERE r.bank_id = $1 AND r.person_id = $2 AND r.status = 'confirmed';

-- name: grade_record
SELECT grade_record($1, $2, $3, $4);

-- name: open_honour_title
INSERT INTO honour_title (bank_id, title_id, code, name) VALUES ($1, $2, $3, $4);

-- name: list_honour_titles
SELECT title_id, code, name FROM honour_title WHERE bank_id = $1 ORDER BY code;

-- name: nominate
INSERT INTO honour (bank_id, honour_id, title_id, person_id, year, nominated_by)
VALUES ($1, $2, $3, $4, $5, $6);

-- name: decide_honour
SELECT decide_honour($1, $2, $3, $4);

-- name: find_honour
SELECT honour_id, title_id, person_id, year, status, nominated_by, decided_by, decided_at
FROM honour WHERE bank_id = $1 AND honour_id = $2;

-- name: list_honours
SELECT honour_id, title_id, person_id, year, status, nominated_by, decided_by, decided_at
FROM honour
WHERE bank_id = $1 AND ($2::uuid IS NULL OR person_id = $2)
  AND ($3::honour_status IS NULL OR status = $3)
  AND ($4::uuid IS NULL OR is_within($1, person_id, $4))
  AND ($5::uuid IS NULL OR honour_id < $5)
ORDER BY honour_id DESC LIMIT $6;


-- ── Anomalies ───────────────────────────────────────────────────────────────────────────────────
-- $1 bank, $2 first local day, $3 limit, $4 a branch, if only what was served at activities and
-- wishes of it and below counts; then the bounds. Rejected and reversed records are done with.
-- What a rota brought in is left out: it has no instants.

-- name: activities_made_after_their_end
SELECT a.activity_id AS subject_id, a.made_by AS other_id, count(*) AS times,
       sum(r.minutes)::bigint AS minutes
FROM activity a
JOIN shift s USING (bank_id, activity_id)
JOIN service_record r USING (bank_id, shift_id)
WHERE a.bank_id = $1 AND r.served_on >= $2 AND a.made_at > s.ends_at
  AND r.status IN ('submitted', 'confirmed')
  AND ($4::uuid IS NULL
       OR a.branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
GROUP BY a.activity_id, a.made_by HAVING count(*) >= $5::integer
ORDER BY minutes DESC, subject_id LIMIT $3;

-- name: records_approved_in_haste
SELECT r.activity_id AS subject_id, r.decided_by AS other_id, count(*) AS times,
       sum(r.minutes)::bigint AS minutes
FROM service_record r JOIN activity a USING (bank_id, activity_id)
WHERE r.bank_id = $1 AND r.served_on >= $2 AND a.source_ref IS NULL AND r.status = 'confirmed'
  AND r.source <> 'checked_in' AND r.decided_at < r.made_at + make_interval(mins => $5::integer)
  AND ($4::uuid IS NULL
       OR a.branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
GROUP BY r.activity_id, r.decided_by HAVING count(*) >= $6::integer
ORDER BY minutes DESC, subject_id LIMIT $3;

-- name: check_ins_without_spread
SELECT a.shift_id AS subject_id,
       (array_agg(a.checked_in_by ORDER BY a.checked_in_at))[1] AS other_id,
       count(DISTINCT a.person_id) AS times,
       coalesce(sum(r.minutes), 0)::bigint AS minutes
FROM attendance a
JOIN shift s USING (bank_id, shift_id)
JOIN activity ac USING (bank_id, activity_id)
LEFT JOIN service_record r ON r.bank_id = a.bank_id AND r.attendance_id = a.attendance_id
                          AND r.status IN ('draft', 'submitted', 'confirmed')
WHERE a.bank_id = $1 AND s.served_on >= $2
  AND ($4::uuid IS NULL
       OR ac.branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
GROUP BY a.shift_id
HAVING count(DISTINCT a.person_id) >= $6::integer
   AND extract(epoch FROM max(a.checked_in_at) - min(a.checked_in_at))
       < $5::integer * (count(DISTINCT a.person_id) - 1)
ORDER BY times DESC, subject_id LIMIT $3;

-- name: makers_too_fast
SELECT r.made_by AS subject_id, NULL::uuid AS other_id, count(*) AS times,
       sum(r.minutes)::bigint AS minutes
FROM service_record r
JOIN bank b USING (bank_id)
LEFT JOIN activity a USING (bank_id, activity_id)
LEFT JOIN wish w USING (bank_id, wish_id)
WHERE r.bank_id = $1 AND r.made_at >= $2::date::timestamp AT TIME ZONE b.time_zone
  AND a.source_ref IS NULL AND r.source <> 'checked_in'
  AND r.status IN ('draft', 'submitted', 'confirmed')
  AND ($4::uuid IS NULL OR coalesce(a.branch_id, w.branch_id) IN (
      SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
GROUP BY r.made_by, (r.made_at AT TIME ZONE b.time_zone)::date
HAVING sum(r.minutes) >= $5::integer
ORDER BY minutes DESC, subject_id LIMIT $3;

-- name: approvals_at_night
SELECT r.decided_by AS subject_id, NULL::uuid AS other_id, count(*) AS times,
       sum(r.minutes)::bigint AS minutes
FROM service_record r
JOIN bank b USING (bank_id)
LEFT JOIN activity a USING (bank_id, activity_id)
LEFT JOIN wish w USING (bank_id, wish_id)
WHERE r.bank_id = $1 AND r.decided_at >= $2::date::timestamp AT TIME ZONE b.time_zone
  AND r.status = 'confirmed' AND a.source_ref IS NULL
  AND extract(hour FROM r.decided_at AT TIME ZONE b.time_zone) >= $6::integer
  AND extract(hour FROM r.decided_at AT TIME ZONE b.time_zone) < $7::integer
  AND ($4::uuid IS NULL OR coalesce(a.branch_id, w.branch_id) IN (
      SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
GROUP BY r.decided_by, (r.decided_at AT TIME ZONE b.time_zone)::date
HAVING count(*) >= $5::integer
ORDER BY minutes DESC, subject_id LIMIT $3;

-- name: same_names_every_time
SELECT made_by AS subject_id, NULL::uuid AS other_id, count(*) AS times,
       sum(minutes)::bigint AS minutes
FROM (SELECT r.made_by, r.shift_id, array_agg(DISTINCT r.person_id) AS persons,
             sum(r.minutes) AS minutes
      FROM service_record r JOIN activity a USING (bank_id, activity_id)
      WHERE r.bank_id = $1 AND r.served_on >= $2 AND a.source_ref IS NULL
        AND r.source <> 'checked_in' AND r.status IN ('submitted', 'confirmed')
        AND ($4::uuid IS NULL
             OR a.branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
      GROUP BY r.made_by, r.shift_id) AS sheet
WHERE cardinality(persons) >= $6::integer
GROUP BY made_by, persons HAVING count(*) >= $5::integer
ORDER BY minutes DESC, subject_id LIMIT $3;

-- name: hold_activity
SELECT hold_activity($1, $2, $3, $4, $5);

-- name: list_points_of_activity
SELECT t.transfer_id, t.credit_account_id
FROM shift s
JOIN service_record r USING (bank_id, shift_id)
JOIN service_award a USING (bank_id, record_id)
JOIN transfer t ON (t.bank_id, t.transfer_id) = (a.bank_id, a.points_transfer_id)
WHERE s.bank_id = $1 AND s.activity_id = $2 AND r.status = 'confirmed';

-- name: release_activity
SELECT release_activity($1, $2, $3);

-- name: find_activity_hold
SELECT hold_id, activity_id, reason, held_by, held_at, proposed_by, released_by, released_at
FROM activity_hold WHERE bank_id = $1 AND activity_id = $2 ORDER BY hold_id DESC LIMIT 1;

-- name: list_held_activities
SELECT hold_id, activity_id, reason, held_by, held_at, proposed_by, released_by, released_at
FROM activity_hold
WHERE bank_id = $1 AND released_at IS NULL
  AND ($2::uuid IS NULL OR activity_id IN (
      SELECT activity_id FROM activity
      WHERE bank_id = $1 AND branch_id IN (
          SELECT branch_id FROM list_branches_below($1, $2, 'infinity'))))
ORDER BY hold_id;


-- ── Certificates ────────────────────────────────────────────────────────────────────────────────

-- name: open_certificate
SELECT record_id, served_on, minutes, content FROM open_certificate($1, $2, $3, $4);

-- name: close_certificate
SELECT close_certificate($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: revoke_certificate
SELECT revoke_certificate($1, $2, $3, $4);

-- name: find_certificate
SELECT b.code AS bank, c.code, certificate_id, person_id, from_on, until_on, minutes, issued_by,
       issued_at, status, revoked_for
FROM certificate c JOIN bank b USING (bank_id) WHERE c.bank_id = $1 AND certificate_id = $2;

-- name: find_signed
SELECT statement, signature FROM certificate WHERE bank_id = $1 AND certificate_id = $2;

-- name: list_certificates
SELECT b.code AS bank, c.code, certificate_id, person_id, from_on, until_on, minutes, issued_by,
       issued_at, status, revoked_for
FROM certificate c JOIN bank b USING (bank_id)
WHERE c.bank_id = $1 AND person_id = $2 ORDER BY certificate_id DESC;

-- name: find_certificate_by_number
SELECT b.code AS bank, c.code, certificate_id, person_id, from_on, until_on, minutes, issued_by,
       issued_at, status, revoked_for
FROM bank b JOIN certificate c USING (bank_id) WHERE b.code = $1 AND c.code = $2;

-- name: find_volunteer_number
SELECT member_number FROM resident WHERE bank_id = $1 AND resident_id = $2;
