-- Queries of service. $1 is always the bank.

-- name: lock_imports
SELECT pg_advisory_xact_lock(hashtext('timebank import'), $1);

-- name: list_shifts_by_refs
SELECT s.source_ref AS shift_ref, s.served_on, s.minutes, s.attended, a.source_ref AS event_ref,
       a.title AS event_name, s.points
FROM shift s JOIN activity a USING (bank_id, activity_id)
WHERE s.bank_id = $1 AND s.source_ref = ANY ($2);

-- name: list_activities
SELECT activity_id, source_ref, title FROM activity
WHERE bank_id = $1 AND source_ref = ANY ($2)
ORDER BY source_ref;

-- name: register_activities
INSERT INTO activity (bank_id, activity_id, source_ref, title)
SELECT $1, id, ref, title
FROM unnest($2::uuid[], $3::text[], $4::text[]) WITH ORDINALITY AS r(id, ref, title, place)
ORDER BY place
ON CONFLICT (bank_id, source_ref) DO NOTHING;

-- name: record_shifts
INSERT INTO shift (bank_id, source_ref, activity_id, served_on, minutes, attended, points)
SELECT $1, ref, activity, served_on, minutes, attended, points
FROM unnest($2::text[], $3::uuid[], $4::date[], $5::bigint[], $6::integer[], $7::bigint[])
     AS r(ref, activity, served_on, minutes, attended, points);
