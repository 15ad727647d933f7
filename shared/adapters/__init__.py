"""One module per thing outside: clocks, PostgreSQL, Redis, Parquet, HTTP, log files."""
