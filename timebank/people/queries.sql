-- name: issue_token
INSERT INTO access_token (token_hash, bank_id, principal_id, role, expires_at)
VALUES ($1, $2, $3, $4, $5);

-- name: revoke_token
UPDATE access_token SET revoked_at = clock_timestamp()
WHERE token_hash = $1 AND revoked_at IS NULL
RETURNING token_hash;

-- name: list_principals
SELECT token_hash, bank_id, principal_id, role FROM access_token
WHERE token_hash = ANY ($1) AND revoked_at IS NULL AND expires_at > clock_timestamp();

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
