"""One SQLite file, written to durably: what the SQLite store and the SQLite inbox stand on."""
