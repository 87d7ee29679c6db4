"""The ledger in a database: what the adapter remembers, on SQLite or PostgreSQL."""
