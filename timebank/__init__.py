"""timebank: a volunteer time bank on an append-only double-entry ledger in PostgreSQL."""

__version__ = "0.1.0"
