-- Queries about the schema itself; each package keeps its own beside its modules.

-- name: lock_schema_installation
SELECT pg_advisory_xact_lock(hashtext('timebank schema'));

-- name: has_schema
SELECT to_regnamespace('timebank') IS NOT NULL;

-- name: remember_schema
COMMENT ON SCHEMA timebank IS $1;

-- name: find_schema_fingerprint
SELECT obj_description(to_regnamespace('timebank'), 'pg_namespace');

-- name: create_database
CREATE DATABASE timebank;
