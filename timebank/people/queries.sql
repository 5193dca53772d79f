-- Queries of the registry and of access.

-- name: register_parties
INSERT INTO party (bank_id, party_id, kind)
SELECT $1, id, $3 FROM unnest($2::uuid[]) AS id
ON CONFLICT DO NOTHING;

-- name: list_strangers
SELECT id FROM unnest($2::uuid[]) AS asked (id)
WHERE NOT EXISTS (SELECT FROM party
                  WHERE bank_id = $1 AND party_id = asked.id AND kind = 'person'
                    AND erased_at IS NULL);

-- name: is_party
SELECT EXISTS (SELECT FROM party
               WHERE bank_id = $1 AND party_id = $2 AND kind = $3 AND erased_at IS NULL);

-- name: place_party
SELECT place_party($1, $2, $3);

-- name: list_path_of
SELECT list_branch_path($1, find_branch_of($1, $2, 'infinity'), 'infinity');

-- name: list_paths_of
SELECT list_branch_path($1, branch_id, 'infinity') AS path
FROM (SELECT DISTINCT find_branch_of($1, party_id, 'infinity') AS branch_id
      FROM unnest($2::uuid[]) AS party_id) AS places;

-- name: list_persons_behind
SELECT DISTINCT behind
FROM unnest($2::uuid[]) AS party_id, list_persons_behind($1, party_id) AS behind;

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
SELECT token_hash, bank_id, party_id, role, branch_id, merchant_id, method, scopes, session_id,
       is_stale
FROM live_session WHERE token_hash = ANY ($1);

-- name: list_holdings_of_callers
SELECT n, a.account_id, a.owner_id, a.unit, b.balance, b.seq,
       CASE WHEN EXISTS (SELECT FROM block WHERE block.bank_id = a.bank_id AND lifted_at IS NULL)
            THEN count_blocked(a.bank_id, a.account_id) ELSE 0 END AS blocked, s.is_stale
FROM unnest($1::bytea[], $2::uuid[]) WITH ORDINALITY AS asked(token_hash, account_id, n)
JOIN live_session s USING (token_hash)
JOIN account a ON a.bank_id = s.bank_id AND a.account_id = asked.account_id
JOIN balance b ON b.bank_id = a.bank_id AND b.account_id = a.account_id;

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

-- name: hold_master_keys
SELECT * FROM vault.hold_master_keys($1, $2) AS key_id;

-- name: add_persons
SELECT vault.add_persons($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14);

-- name: open_for_correction
SELECT * FROM vault.open_for_correction($1, $2, $3, $4, $5, $6);

-- name: replace_fields
SELECT vault.replace_fields($1, $2, $3, $4, $5, $6, $7, $8);

-- name: set_freeze
SELECT vault.set_freeze($1, $2, $3, $4, $5, $6, $7);

-- name: erase_person
SELECT vault.erase_person($1, $2, $3, $4, $5);

-- name: read_fields
SELECT * FROM vault.read_fields($1, $2, $3, $4, $5, $6, $7);

-- name: find_persons
SELECT * FROM vault.find_persons($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_accesses
SELECT reader_id, act, person_id, fields, purpose, outcome, request_id, made_at
FROM vault.list_accesses($1, $2);

-- name: list_master_keys
SELECT bank_id, key_id, state FROM vault.list_master_keys();

-- name: begin_rotation
SELECT vault.begin_rotation($1, $2);

-- name: list_to_rewrap
SELECT * FROM vault.list_to_rewrap($1, $2, $3, $4);

-- name: rewrap_persons
SELECT vault.rewrap_persons($1, $2, $3, $4, $5, $6, $7);

-- name: finish_rotation
SELECT vault.finish_rotation($1);

-- name: count_persons
SELECT persons, to_rewrap FROM vault.count_persons($1);

-- name: record_consents
INSERT INTO consent (bank_id, consent_id, party_id, kind, given, by_id, sheet, recorded_by)
SELECT $1, id, $3, kind, given, $6, $7, $8
FROM unnest($2::uuid[], $4::consent_kind[], $5::boolean[]) AS r(id, kind, given);

-- name: list_consents
SELECT kind, given, by_id, sheet, recorded_by, recorded_at FROM consent
WHERE bank_id = $1 AND party_id = $2 ORDER BY recorded_at, consent_id;

-- name: has_consent
SELECT has_consent($1, $2, $3);

-- name: list_free_numbers
SELECT DISTINCT number FROM unnest($2::text[]) AS number
WHERE NOT EXISTS (SELECT FROM resident WHERE bank_id = $1 AND member_number = number);

-- name: apply_for_membership
SELECT register_residents($1, $2, $3, $4, $5);

-- name: list_member_numbers
SELECT resident_id, member_number FROM resident WHERE bank_id = $1 AND resident_id = ANY ($2);

-- name: move_memberships
INSERT INTO membership (bank_id, resident_id, state, actor_id)
SELECT $1, id, $3, $4 FROM unnest($2::uuid[]) WITH ORDINALITY AS r(id, place) ORDER BY place;

-- name: find_membership
SELECT r.resident_id, r.member_number, r.is_minor, m.state, m.actor_id, m.made_at
FROM resident r
LEFT JOIN LATERAL (SELECT * FROM membership m
                   WHERE (m.bank_id, m.resident_id) = (r.bank_id, r.resident_id)
                   ORDER BY step DESC LIMIT 1) AS m ON true
WHERE r.bank_id = $1 AND r.resident_id = $2;

-- name: is_member
SELECT find_membership($1, $2) IS NOT DISTINCT FROM 'approved';

-- name: find_resident_by_number
SELECT resident_id FROM resident WHERE bank_id = $1 AND member_number = $2;

-- name: list_memberships
SELECT r.resident_id, r.member_number, r.is_minor, m.state, m.actor_id, m.made_at
FROM resident r
CROSS JOIN LATERAL (SELECT * FROM membership m
                    WHERE (m.bank_id, m.resident_id) = (r.bank_id, r.resident_id)
                    ORDER BY step DESC LIMIT 1) AS m
WHERE r.bank_id = $1 AND m.state = $2 AND ($3::uuid IS NULL OR is_within($1, r.resident_id, $3))
  AND ($4::uuid IS NULL OR r.resident_id > $4)
ORDER BY r.resident_id LIMIT $5;

-- name: name_guardian
INSERT INTO guardianship (bank_id, minor_id, guardian_id, sheet, named_by)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (bank_id, minor_id, guardian_id) WHERE ended_at IS NULL DO NOTHING;

-- name: end_guardianship
UPDATE guardianship SET ended_at = clock_timestamp()
WHERE bank_id = $1 AND minor_id = $2 AND guardian_id = $3 AND ended_at IS NULL
RETURNING guardian_id;

-- name: list_guardianships
SELECT minor_id, guardian_id, sheet, named_by, named_at, let_in_at, ended_at FROM guardianship
WHERE bank_id = $1 AND $2 IN (minor_id, guardian_id) ORDER BY named_at;

-- name: is_guardian
SELECT is_guardian($1, $2, $3, coalesce($4, clock_timestamp()));

-- name: is_minor
SELECT is_minor FROM resident WHERE bank_id = $1 AND resident_id = $2;

-- name: lock_resident
SELECT lock_resident($1, $2);

-- name: claim_minors
SELECT claim_minors($1, $2, $3) AS resident_id;

-- name: prolong_minority
SELECT prolong_minority($1, $2, $3);

-- name: end_minority
SELECT end_minority($1, $2);

-- name: set_minor_cap
INSERT INTO minor_cap (bank_id, points_at_once, points_a_day, set_by) VALUES ($1, $2, $3, $4);

-- name: find_minor_cap
SELECT points_at_once, points_a_day FROM minor_cap WHERE bank_id = $1
ORDER BY set_at DESC LIMIT 1;

-- name: name_helper
INSERT INTO family_helper (bank_id, resident_id, helper_id, named_by, expires_at)
VALUES ($1, $2, $3, $4, $5);

-- name: end_helper
UPDATE family_helper SET ended_at = clock_timestamp()
WHERE bank_id = $1 AND resident_id = $2 AND helper_id = $3 AND ended_at IS NULL
RETURNING helper_id;

-- name: list_helpers
SELECT resident_id, helper_id, named_by, named_at, expires_at, ended_at FROM family_helper
WHERE bank_id = $1 AND $2 IN (resident_id, helper_id) ORDER BY named_at;

-- name: may_help
SELECT may_help($1, $2, $3, coalesce($4, clock_timestamp()));

-- name: list_kin
SELECT guardian_id AS party_id FROM guardianship
WHERE bank_id = $1 AND minor_id = $2 AND ended_at IS NULL AND let_in_at IS NOT NULL
  AND is_known_minor($1, $2, coalesce($3, clock_timestamp()))
UNION
SELECT helper_id FROM family_helper
WHERE bank_id = $1 AND resident_id = $2
  AND may_help($1, helper_id, $2, coalesce($3, clock_timestamp()));

-- name: issue_card
SELECT issue_card($1, $2, $3, $4, $5);

-- name: revoke_card
SELECT revoke_card($1, $2);

-- name: find_card_holder
SELECT c.bank_id, c.resident_id, c.card_id, r.member_number
FROM card c JOIN resident r USING (bank_id, resident_id)
WHERE c.token_hash = $1 AND c.revoked_at IS NULL
  AND find_membership(c.bank_id, c.resident_id) = 'approved';

-- name: hold_card
SELECT hold_card($1, $2, $3);

-- name: issue_sheets
SELECT first_number, last_number, kind, issued_to, issued_by, issued_at
FROM issue_sheets($1, $2, $3, $4, $5);

-- name: enter_sheet
INSERT INTO sheet (bank_id, number, fate, operator_id, witness_id, member_id, subject_id)
SELECT $1, $2::integer, 'entered', $4, $5, $6, $7
WHERE EXISTS (SELECT FROM sheet_run
              WHERE bank_id = $1 AND kind = $3 AND $2 BETWEEN first_number AND last_number)
RETURNING number;

-- name: void_sheets
INSERT INTO sheet (bank_id, number, fate, operator_id, void_reason)
SELECT $1, number, 'voided', $3, $4
FROM unnest($2::integer[]) WITH ORDINALITY AS r(number, place) ORDER BY place;

-- name: hold_sheets
SELECT hold_sheets($1, $2, $3);

-- name: list_fit_sheets
SELECT number FROM unnest($2::integer[]) AS named (number)
WHERE EXISTS (SELECT FROM sheet_run run WHERE run.bank_id = $1 AND run.kind = $3
              AND named.number BETWEEN run.first_number AND run.last_number)
  AND NOT EXISTS (SELECT FROM sheet s WHERE s.bank_id = $1 AND s.number = named.number)
  AND NOT is_sheet_cited($1, named.number);

-- name: find_unfit_sheets
SELECT coalesce(bool_or(run.kind IS NULL), false) AS not_issued,
       coalesce(bool_or(s.fate = 'voided'), false) AS voided
FROM unnest($2::integer[]) AS cited (number)
LEFT JOIN sheet_run run ON run.bank_id = $1 AND run.kind = $3
                       AND cited.number BETWEEN run.first_number AND run.last_number
LEFT JOIN sheet s ON s.bank_id = $1 AND s.number = cited.number;

-- name: find_sheet
SELECT number, fate, operator_id, witness_id, member_id, subject_id, void_reason, recorded_at
FROM sheet WHERE bank_id = $1 AND number = $2;

-- name: list_runs
SELECT first_number, last_number, kind, issued_to, issued_by, issued_at FROM sheet_run
WHERE bank_id = $1 AND ($2::uuid IS NULL OR issued_to = $2)
  AND ($3::uuid IS NULL OR is_within($1, issued_to, $3))
ORDER BY first_number;

-- name: list_missing
SELECT array(SELECT number FROM generate_series(first_number, last_number) AS number
             WHERE NOT EXISTS (SELECT FROM sheet s
                               WHERE s.bank_id = $1 AND s.number = number.number)
               AND NOT is_sheet_cited($1, number.number)
             ORDER BY number) AS numbers
FROM sheet_run WHERE bank_id = $1 AND first_number = $2;

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

-- name: hold_grants_of_both
SELECT g.party_id
FROM role_grant g JOIN approval a ON a.bank_id = g.bank_id
                                 AND g.party_id IN (a.maker_id, a.checker_id)
WHERE g.bank_id = $1 AND a.approval_id = $2 AND g.role = ANY ($3::role[])
  AND g.revoked_at IS NULL AND is_within($1, a.branch_id, g.branch_id)
ORDER BY g.grant_id
FOR SHARE OF g;

-- name: lock_people_imports
SELECT pg_advisory_xact_lock(hashtextextended('timebank import people', $1));

-- name: count_importers
SELECT count(DISTINCT g.party_id)
FROM role_grant g JOIN bank b ON b.bank_id = g.bank_id AND b.root_id = g.branch_id
JOIN party p ON p.bank_id = g.bank_id AND p.party_id = g.party_id
WHERE g.bank_id = $1 AND g.role = ANY ($2::role[]) AND g.revoked_at IS NULL
  AND p.kind = $3 AND p.erased_at IS NULL;

-- name: find_member_number
SELECT member_number FROM resident WHERE bank_id = $1 AND resident_id = $2;

-- name: list_membership_steps
SELECT state, actor_id, made_at FROM membership
WHERE bank_id = $1 AND resident_id = $2 ORDER BY step;

-- name: count_sealed
SELECT count_sealed($1, $2);

-- name: list_to_reseal
SELECT table_name, column_name, place, bound_to, sealed FROM list_to_reseal($1, $2, $3);

-- name: reseal
SELECT reseal($1, $2, $3, $4, $5, $6);

-- name: use_allowance
SELECT use_allowance($1, $2, $3, $4);

-- name: give_back_allowance
SELECT give_back_allowance($1, $2, $3);

-- name: list_sheet_holders
SELECT DISTINCT issued_to FROM sheet_run
JOIN unnest($2::integer[]) AS number ON number BETWEEN first_number AND last_number
WHERE bank_id = $1;

-- name: add_signing_key
INSERT INTO signing_key (bank_id, key_id, purpose, public_key, made_by)
VALUES ($1, $2, $3, $4, $5);

-- name: add_signing_secret
INSERT INTO signing_secret (bank_id, key_id, sealed) VALUES ($1, $2, $3);

-- name: list_signing_keys
SELECT key_id, public_key, made_at FROM signing_key
WHERE bank_id = $1 AND purpose = $2 ORDER BY made_at DESC;

-- name: find_signing_secret
SELECT key_id, sealed FROM signing_key JOIN signing_secret USING (bank_id, key_id)
WHERE bank_id = $1 AND purpose = $2 AND ($3::text IS NULL OR key_id = $3)
ORDER BY made_at DESC LIMIT 1;

-- name: list_unfit_labels
SELECT label FROM unnest($1::text[]) AS label WHERE holds_persons_number(label);
