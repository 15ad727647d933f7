"""How do intents, orders, fills and cash rest in PostgreSQL?

Each method is one transaction and leaves the tables whole. Decisions come from `lifecycle`; here they are read,
applied and written, in one part per decision.
"""

from __future__ import annotations

from shared.adapters.postgres import Database
from trade_executor.slicing import Slicing, at_once
from trade_executor.store.activities import Activities
from trade_executor.store.differences import Differences
from trade_executor.store.guards import Guards
from trade_executor.store.ledger import Booked, Ledger
from trade_executor.store.lending import Lendings
from trade_executor.store.manual import ManualOrders
from trade_executor.store.opening import Opening
from trade_executor.store.outgoing import Outgoing
from trade_executor.store.performance import Performances
from trade_executor.store.protection import Protection
from trade_executor.store.questions import Questions
from trade_executor.store.reads import Reads
from trade_executor.store.requests import Requests
from trade_executor.store.reviews import Reviews
from trade_executor.store.tables import Frame
from trade_executor.store.terms import Terms

__all__ = ["Booked", "Frame", "Store"]


class Store:
    """Everything of one account, by what is decided there."""

    def __init__(self, db: Database, account: str, slicing: Slicing = at_once) -> None:
        """`slicing` says into which orders an approval is cut."""
        self.account = account
        self.terms = Terms(db, account)
        self.reviews = Reviews(db, account, slicing)
        self.differences = Differences(db, account)
        self.guards = Guards(db, account)
        self.protection = Protection(db, account, self.differences)
        self.outgoing = Outgoing(db, account, self.differences, self.protection)
        self.lending = Lendings(db, account)
        self.opening = Opening(db, account, self.lending)
        self.ledger = Ledger(db, account, self.differences, self.protection)
        self.activities = Activities(db, account, self.differences)
        self.questions = Questions(db, account)
        self.manual = ManualOrders(db, account)
        self.requests = Requests(db, account)
        self.reads = Reads(db, account)
        self.performances = Performances(db, account)
