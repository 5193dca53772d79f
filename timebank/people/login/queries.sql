-- Queries of login: attempts, secrets, codes, enrolments, keys.

-- name: charge_login
SELECT charge_login($1, $2, $3, $4, $5);

-- name: count_failing_cards
SELECT count(*) FROM login_failure
WHERE bank_id = $1 AND method = 'pin' AND is_known
  AND last_failed_at > clock_timestamp() - $2::interval;

-- name: find_wait
SELECT ceil(extract(epoch FROM free_at - clock_timestamp()))::integer FROM login_failure
WHERE bank_id = $1 AND method = $2 AND subject_hash = $3 AND free_at > clock_timestamp();

-- name: forget_failures
DELETE FROM login_failure WHERE bank_id = $1 AND method = $2 AND subject_hash = $3;

-- name: forget_failures_of_cards
DELETE FROM login_failure f USING card c
WHERE c.bank_id = $1 AND c.resident_id = $2 AND c.revoked_at IS NULL
  AND f.bank_id = c.bank_id AND f.method = 'pin' AND f.subject_hash = c.token_hash;

-- name: find_secret
SELECT sealed_hash FROM login_secret WHERE bank_id = $1 AND party_id = $2 AND kind = $3;

-- name: is_secret_in_force
SELECT true FROM login_secret
WHERE bank_id = $1 AND party_id = $2 AND kind = $3 AND sealed_hash = $4 FOR SHARE;

-- name: set_secret
SELECT set_secret($1, $2, $3, $4, $5);

-- name: issue_one_time_code
SELECT issue_one_time_code($1, $2, $3, $4, $5, $6);

-- name: find_one_time_code
SELECT code_id, sealed_hash FROM one_time_code
WHERE bank_id = $1 AND party_id = $2 AND used_at IS NULL AND expires_at > clock_timestamp();

-- name: use_one_time_code
SELECT use_one_time_code($1, $2, $3);

-- name: find_staff_login
SELECT s.party_id, s.staff_number, s.sealed_secret, k.sealed_hash, s.is_waiting,
       clock_timestamp() AS now
FROM staff_login s
JOIN party p USING (bank_id, party_id)
JOIN login_secret k ON k.bank_id = s.bank_id AND k.party_id = s.party_id
    AND k.kind = CASE WHEN s.is_waiting THEN 'new_password' ELSE 'password' END::secret_kind
WHERE s.bank_id = $1 AND s.staff_number = $2 AND p.erased_at IS NULL;

-- name: find_staff_number
SELECT staff_number FROM staff_login
WHERE bank_id = $1 AND party_id = $2 AND NOT is_waiting;

-- name: find_staff_member
SELECT party_id FROM staff_login WHERE bank_id = $1 AND staff_number = $2;

-- name: use_time_step
SELECT use_time_step($1, $2, $3);

-- name: invite
INSERT INTO enrolment (bank_id, code_hash, party_id, invited_by, expires_at)
VALUES ($1, $2, $3, $4, clock_timestamp() + $5::interval);

-- name: find_invitation
SELECT e.code_hash, e.party_id, e.sealed_secret, s.staff_number, e.expires_at,
       clock_timestamp() AS now
FROM enrolment e
LEFT JOIN party inviter ON inviter.bank_id = e.bank_id AND inviter.party_id = e.invited_by
LEFT JOIN staff_login s ON s.bank_id = e.bank_id AND s.party_id = e.party_id
    AND NOT s.is_waiting AND inviter.party_id IS NULL
WHERE e.bank_id = $1 AND e.code_hash = $2 AND e.used_at IS NULL
  AND e.expires_at > clock_timestamp();

-- name: show_second_factor
UPDATE enrolment SET sealed_secret = $3
WHERE bank_id = $1 AND code_hash = $2 AND used_at IS NULL AND expires_at > clock_timestamp()
RETURNING true;

-- name: complete_enrolment
SELECT complete_enrolment($1, $2, $3, $4, $5, $6);

-- name: confirm_enrolment
SELECT confirm_enrolment($1, $2, $3);

-- name: revoke_other_sessions
UPDATE session SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND party_id = $2 AND session_id IS DISTINCT FROM $3 AND revoked_at IS NULL
RETURNING session_id;

-- name: make_api_key
INSERT INTO api_key (bank_id, api_key_id, grant_id, scopes, lifetime_days, session_id, issued_by)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: find_api_key
SELECT k.api_key_id, k.grant_id, g.branch_id, g.merchant_id, g.party_id, k.scopes,
       k.lifetime_days, k.session_id, k.previous_session_id, k.issued_by, k.issued_at,
       k.rotated_at, k.rotated_by, s.expires_at
FROM api_key k JOIN role_grant g USING (bank_id, grant_id)
JOIN session s USING (bank_id, session_id)
WHERE k.bank_id = $1 AND k.api_key_id = $2 AND k.revoked_at IS NULL AND g.revoked_at IS NULL
  AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp();

-- name: list_api_keys
SELECT k.api_key_id, k.grant_id, g.branch_id, g.merchant_id, g.party_id, k.scopes,
       k.lifetime_days, k.session_id, k.previous_session_id, k.issued_by, k.issued_at,
       k.rotated_at, k.rotated_by, s.expires_at
FROM api_key k JOIN role_grant g USING (bank_id, grant_id)
JOIN session s USING (bank_id, session_id)
WHERE k.bank_id = $1 AND k.revoked_at IS NULL AND g.revoked_at IS NULL
  AND s.revoked_at IS NULL AND s.expires_at > clock_timestamp()
  AND ($2::uuid IS NULL OR g.merchant_id = $2)
  AND ($3::uuid IS NULL OR is_within($1, g.branch_id, $3))
ORDER BY k.issued_at, k.api_key_id;

-- name: rotate_api_key
SELECT rotate_api_key($1, $2, $3, $4, $5, $6);

-- name: revoke_api_key
UPDATE api_key SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND api_key_id = $2 AND revoked_at IS NULL
RETURNING ARRAY[session_id, previous_session_id];

-- name: revoke_sessions_by_id
UPDATE session SET revoked_at = clock_timestamp()
WHERE bank_id = $1 AND session_id = ANY ($2::uuid[]) AND revoked_at IS NULL;
