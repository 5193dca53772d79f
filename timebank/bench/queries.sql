-- Queries of the benchmarks.

-- name: create_database
CREATE DATABASE timebank_bench;

-- name: drop_database
DROP DATABASE IF EXISTS timebank_bench WITH (FORCE);

-- name: settle_disk
CHECKPOINT;

-- name: read_server_facts
SELECT current_setting('server_version') AS version, current_setting('fsync') AS fsync,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('wal_sync_method') AS wal_sync_method;

-- name: create_copy_schema
CREATE SCHEMA copied;

-- name: create_copied_transfer
CREATE TABLE copied.transfer (LIKE timebank.transfer INCLUDING ALL);

-- name: create_copied_posting
CREATE TABLE copied.posting (LIKE timebank.posting INCLUDING ALL);

-- name: create_copied_balance
CREATE TABLE copied.balance (LIKE timebank.balance INCLUDING ALL) WITH (fillfactor = 50);

-- name: empty_copies
TRUNCATE copied.transfer, copied.posting, copied.balance;

-- name: list_journal_rows
SELECT * FROM timebank.transfer WHERE bank_id = $1 AND status = 'posted'
ORDER BY transfer_id DESC LIMIT $2;

-- name: list_posting_rows
SELECT p.* FROM timebank.transfer t
JOIN timebank.posting p
  ON p.bank_id = t.bank_id AND p.account_id IN (t.debit_account_id, t.credit_account_id)
 AND p.transfer_id = t.transfer_id
 AND p.seq = CASE p.account_id WHEN t.debit_account_id THEN t.debit_seq ELSE t.credit_seq END
WHERE t.bank_id = $1 AND t.transfer_id = ANY ($2)
ORDER BY t.transfer_id;

-- name: list_balance_rows
SELECT * FROM timebank.balance WHERE bank_id = $1 AND account_id = ANY ($2);
