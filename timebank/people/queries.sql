-- Queries of the registry and of access.

-- name: register_parties
INSERT INTO party (bank_id, party_id, kind)
SELECT $1, id, $3 FROM unnest($2::uuid[]) AS id
ON CONFLICT DO NOTHING;

-- name: is_party
SELECT EXISTS (SELECT FROM party
               WHERE bank_id = $1 AND party_id = $2 AND kind = $3 AND erased_at IS NULL);

-- name: place_party
INSERT INTO placement (bank_id, party_id, branch_id) VALUES ($1, $2, $3);

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

-- name: revoke_session
UPDATE session SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND session_id = $2 AND revoked_at IS NULL;

-- name: find_span
SELECT session_id, expires_at, idle_seconds FROM session WHERE bank_id = $1 AND session_id = $2;

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
