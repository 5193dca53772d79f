-- Queries of webhooks. $1 is always the bank.

-- ── Endpoints ───────────────────────────────────────────────────────────────────────────────────

-- name: open_endpoint
SELECT open_endpoint($1, $2, $3, $4, $5, $6, $7, $8);

-- name: list_endpoints
SELECT e.endpoint_id, e.merchant_id, e.url, e.event_types, e.created_at, e.failing_since,
       least(e.stopped_at, e.disabled_at) AS disabled_at,
       CASE WHEN e.stopped_at IS NULL THEN e.disabled_because ELSE 'staff' END AS disabled_because,
       (SELECT max(ends_at) FROM webhook_secret s
        WHERE (s.bank_id, s.endpoint_id) = (e.bank_id, e.endpoint_id)
          AND s.ends_at > clock_timestamp() AND s.ends_at < 'infinity') AS previous_until
FROM webhook_endpoint e
WHERE e.bank_id = $1 AND (e.merchant_id = $2 OR $2::uuid IS NULL AND e.endpoint_id = $3)
ORDER BY e.endpoint_id;

-- name: change_endpoint
UPDATE webhook_endpoint
SET url = coalesce($3, url), event_types = coalesce($4::webhook_event_type[], event_types)
WHERE bank_id = $1 AND endpoint_id = $2
  AND ($3::text IS NULL OR NOT EXISTS (
      SELECT FROM webhook_endpoint s
      WHERE s.bank_id = $1 AND s.merchant_id = webhook_endpoint.merchant_id
        AND s.stopped_at IS NOT NULL))
RETURNING true;

-- name: rotate_secret
SELECT rotate_webhook_secret($1, $2, $3, $4, $5);

-- name: disable_endpoint
UPDATE webhook_endpoint
SET disabled_at = coalesce(disabled_at, clock_timestamp()), disabled_because = $3
WHERE bank_id = $1 AND endpoint_id = $2;

-- name: stop_endpoint
UPDATE webhook_endpoint SET stopped_at = coalesce(stopped_at, clock_timestamp())
WHERE bank_id = $1 AND endpoint_id = $2;

-- name: enable_endpoint
UPDATE webhook_endpoint
SET disabled_at = NULL, disabled_because = NULL, failing_since = NULL
WHERE bank_id = $1 AND endpoint_id = $2 AND stopped_at IS NULL
RETURNING true;

-- name: lift_stop
-- Asked of one that is neither stopped nor disabled, it is done already.
UPDATE webhook_endpoint SET stopped_at = NULL
WHERE bank_id = $1 AND endpoint_id = $2 AND (stopped_at IS NOT NULL OR disabled_at IS NULL)
RETURNING true;

-- name: ping_endpoint
SELECT ping_endpoint($1, $2, $3);


-- ── Events ──────────────────────────────────────────────────────────────────────────────────────

-- name: list_events
SELECT e.event_id, e.number, e.type, e.occurred_at, e.data, d.state, d.attempts, d.delivered_at,
       CASE WHEN d.state = 'waiting' THEN d.next_at END AS next_at
FROM webhook_endpoint p
JOIN webhook_event e ON (e.bank_id, e.merchant_id) = (p.bank_id, p.merchant_id)
LEFT JOIN webhook_delivery d
       ON (d.bank_id, d.endpoint_id, d.event_id) = (p.bank_id, p.endpoint_id, e.event_id)
WHERE p.bank_id = $1 AND p.endpoint_id = $2 AND e.number < $3
  AND (d.event_id IS NOT NULL OR e.type = ANY (p.event_types))
ORDER BY e.number DESC LIMIT $4;

-- name: find_event
SELECT e.event_id, e.number, e.type, e.occurred_at, e.data, d.state, d.attempts, d.delivered_at,
       CASE WHEN d.state = 'waiting' THEN d.next_at END AS next_at
FROM webhook_endpoint p
JOIN webhook_event e ON (e.bank_id, e.merchant_id) = (p.bank_id, p.merchant_id)
LEFT JOIN webhook_delivery d
       ON (d.bank_id, d.endpoint_id, d.event_id) = (p.bank_id, p.endpoint_id, e.event_id)
WHERE p.bank_id = $1 AND p.endpoint_id = $2 AND e.event_id = $3
  AND (d.event_id IS NOT NULL OR e.type = ANY (p.event_types));

-- name: list_attempts
SELECT number, attempted_at, duration_ms, outcome, status FROM webhook_attempt
WHERE bank_id = $1 AND endpoint_id = $2 AND event_id = $3
ORDER BY number DESC LIMIT $4;

-- name: replay_deliveries
SELECT replay_deliveries($1, $2, $3, $4);

-- name: forget_events
SELECT forget_events($1, $2, $3);


-- ── Delivery ────────────────────────────────────────────────────────────────────────────────────

-- name: claim_deliveries
SELECT endpoint_id, event_id, type, occurred_at, data, url, sealed_secrets, attempt,
       tries, claim
FROM claim_deliveries($1, $2, $3, $4);

-- name: put_off_delivery
SELECT put_off_delivery($1, $2, $3, $4, $5);

-- name: finish_attempt
SELECT finish_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10);
