"""How are decisions kept in PostgreSQL?

A review is one transaction under the advisory lock `account:<account>`: the book is read, the pure review runs, and
its decisions, mark, mode change, outbox row and cursor are written, or none of it. The book is one statement,
hence one snapshot. The lock comes first and the statement after it, so it sees what the last holder did.
"""

from __future__ import annotations

from risk_manager.store.inbound import Inbounds
from risk_manager.store.reports import Reports
from risk_manager.store.reviews import Reviews
from risk_manager.store.tables import SCHEMA

__all__ = ["SCHEMA", "PostgresStore"]


class PostgresStore(Inbounds, Reviews, Reports):
    """See `ports.Store`; one part per family of tables."""
