-- Queries of the registry and of access.

-- name: register_parties
INSERT INTO party (bank_id, party_id, kind)
SELECT $1, id, $3 FROM unnest($2::uuid[]) AS id
ON CONFLICT DO NOTHING;

-- name: is_party
SELECT EXISTS (SELECT FROM party
               WHERE bank_id = $1 AND party_id = $2 AND kind = $3 AND erased_at IS NULL);

-- name: place_party
SELECT place_party($1, $2, $3);

-- name: list_path_of
SELECT list_branch_path($1, find_branch_of($1, $2, 'infinity'), 'infinity');

-- name: grant_role
WITH made AS (
    INSERT INTO role_grant (bank_id, grant_id, party_id, role, branch_id, merchant_id,
                            granted_by, approved_by)
    SELECT $1, $2, $3, $4, coalesce($5, root_id), $6, $7, $8 FROM bank WHERE bank_id = $1
    ON CONFLICT DO NOTHING RETURNING grant_id
)
SELECT grant_id FROM made
UNION ALL
SELECT grant_id FROM role_grant
WHERE bank_id = $1 AND party_id = $3 AND role = $4
  AND branch_id = coalesce($5, (SELECT root_id FROM bank WHERE bank_id = $1))
  AND merchant_id IS NOT DISTINCT FROM $6 AND revoked_at IS NULL
LIMIT 1;

-- name: revoke_grant
UPDATE role_grant SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND grant_id = $2 AND revoked_at IS NULL
RETURNING grant_id;

-- name: list_grants
SELECT grant_id, party_id, role, branch_id, merchant_id, granted_by, approved_by, granted_at,
       revoked_at
FROM role_grant
WHERE bank_id = $1 AND ($2::uuid IS NULL OR party_id = $2) AND revoked_at IS NULL
  AND ($3::uuid IS NULL OR is_within($1, branch_id, $3))
ORDER BY granted_at, grant_id;

-- name: find_grant
SELECT grant_id, party_id, role, branch_id, merchant_id, granted_by, approved_by, granted_at,
       revoked_at
FROM role_grant WHERE bank_id = $1 AND grant_id = $2;

-- name: open_session
INSERT INTO session (token_hash, bank_id, session_id, party_id, role, grant_id, method, scopes,
                     idle_seconds, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);

-- name: revoke_token
UPDATE session SET revoked_at = clock_timestamp()
WHERE token_hash = $1 AND revoked_at IS NULL
RETURNING token_hash;

-- name: revoke_sessions
UPDATE session SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND party_id = $2 AND revoked_at IS NULL
RETURNING session_id;

-- name: list_principals
SELECT s.token_hash, s.bank_id, s.party_id, s.role, nullif(g.branch_id, b.root_id), g.merchant_id,
       s.method, s.scopes, s.session_id,
       s.idle_seconds IS NOT NULL AND s.last_used_at < clock_timestamp() - interval '1 minute'
FROM session s
JOIN bank b USING (bank_id)
LEFT JOIN role_grant g USING (bank_id, grant_id)
WHERE s.token_hash = ANY ($1) AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
  AND (s.idle_seconds IS NULL
       OR s.last_used_at > clock_timestamp() - make_interval(secs => s.idle_seconds))
  AND (s.grant_id IS NULL OR g.revoked_at IS NULL);

-- name: touch_sessions
UPDATE session SET last_used_at = clock_timestamp()
WHERE token_hash = ANY ($1) AND idle_seconds IS NOT NULL
  AND last_used_at < clock_timestamp() - interval '1 minute';

-- name: is_registered
SELECT EXISTS (SELECT FROM resident WHERE bank_id = $1 AND resident_id = $2);

-- name: register_residents
INSERT INTO resident (bank_id, resident_id, source_ref, confirmed_on)
SELECT $1, id, ref, confirmed
FROM unnest($2::uuid[], $3::text[], $4::date[]) WITH ORDINALITY AS r(id, ref, confirmed, place)
ORDER BY place
ON CONFLICT (bank_id, source_ref) DO NOTHING;

-- name: list_residents_by_refs
SELECT resident_id, source_ref FROM resident WHERE bank_id = $1 AND source_ref = ANY ($2);

-- name: write_audit_entries
INSERT INTO audit_log (bank_id, entry_id, actor_id, role, action, object_id, purpose, result,
                       request_id)
SELECT * FROM unnest($1::integer[], $2::uuid[], $3::uuid[], $4::role[], $5::text[], $6::uuid[],
                     $7::text[], $8::text[], $9::text[]);

-- name: lock_tree
SELECT pg_advisory_xact_lock(hashtext('timebank tree'), $1);

-- name: open_branch
SELECT open_branch($1, $2, $3, $4, $5, $6);

-- name: describe_branch
SELECT describe_branch($1, $2, $3, $4);

-- name: move_branch
SELECT move_branch($1, $2, $3);

-- name: close_branch
SELECT close_branch($1, $2);

-- name: open_service_point
SELECT open_service_point($1, $2, $3, $4, $5);

-- name: close_service_point
SELECT close_service_point($1, $2);

-- name: list_branches
SELECT b.branch_id, b.code, b.name, b.level, p.parent_id, b.community_type, b.opened_at,
       b.closed_at
FROM branch b JOIN list_parents($1, 'infinity') AS p USING (branch_id)
WHERE b.bank_id = $1 AND (b.level, b.code) > ($2::branch_level, $3::text)
  AND ($4::uuid IS NULL
       OR b.branch_id IN (SELECT branch_id FROM list_branches_below($1, $4, 'infinity')))
ORDER BY b.level, b.code LIMIT $5;

-- name: find_branch
SELECT b.branch_id, b.code, b.name, b.level, m.parent_id, b.community_type, b.opened_at,
       b.closed_at
FROM branch b JOIN branch_move m USING (bank_id, branch_id)
WHERE b.bank_id = $1 AND (b.branch_id = $2 OR b.code = $3)
ORDER BY m.moved_at DESC LIMIT 1;

-- name: list_service_points
SELECT service_point_id, branch_id, kind, name, opened_at, closed_at FROM service_point
WHERE bank_id = $1 AND ($2::uuid IS NULL OR branch_id = $2) AND closed_at IS NULL
ORDER BY branch_id, kind, name;

-- name: find_service_point
SELECT service_point_id, branch_id, kind, name, opened_at, closed_at FROM service_point
WHERE bank_id = $1 AND service_point_id = $2;

-- name: define_community_type
INSERT INTO community_type (bank_id, code, name) VALUES ($1, $2, $3)
ON CONFLICT (bank_id, code) DO UPDATE SET name = excluded.name;

-- name: list_community_types
SELECT code, name FROM community_type WHERE bank_id = $1 ORDER BY code;

-- name: list_branch_totals
SELECT branch_id, unit, kind, accounts, balance
FROM list_branch_totals($1, $2, coalesce($3::timestamptz, 'infinity'))
ORDER BY branch_id, unit, kind;

-- name: list_branch_positions
SELECT branch_id, unit, by_transfers, by_moves
FROM list_branch_positions($1, $2, coalesce($3::timestamptz, 'infinity'))
ORDER BY branch_id, unit;

-- name: list_audit_entries
SELECT entry_id, actor_id, role, action, object_id, purpose, result, request_id, recorded_at
FROM audit_log
WHERE bank_id = $1 AND entry_id < $2 AND ($3::uuid IS NULL OR object_id = $3)
  AND ($4::uuid IS NULL OR actor_id = $4)
ORDER BY entry_id DESC LIMIT $5;

-- name: propose
INSERT INTO approval (bank_id, approval_id, deed, content, content_hash, branch_id, maker_id,
                      beneficiaries, lapses_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, clock_timestamp() + $9)
RETURNING approval_id, deed, content, content_hash, branch_id, maker_id, beneficiaries,
          proposed_at, lapses_at, state, checker_id, decided_at;

-- name: find_approval
SELECT approval_id, deed, content, content_hash, branch_id, maker_id, beneficiaries, proposed_at,
       lapses_at, state, checker_id, decided_at
FROM approval WHERE bank_id = $1 AND approval_id = $2;

-- name: list_approvals
SELECT approval_id, deed, content, content_hash, branch_id, maker_id, beneficiaries, proposed_at,
       lapses_at, state, checker_id, decided_at
FROM approval
WHERE bank_id = $1 AND approval_id < $2 AND ($3::approval_state IS NULL OR state = $3)
  AND ($4::uuid IS NULL OR is_within($1, branch_id, $4))
ORDER BY approval_id DESC LIMIT $5;

-- name: decide_approval
SELECT decide_approval($1, $2, $3, $4, $5);
