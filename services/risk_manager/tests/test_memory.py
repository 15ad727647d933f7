"""The memory store keeps the store's promises."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from risk_manager.ports import Inbound
from risk_manager.snapshot import Holding, Protection, Working
from risk_manager.testing import ACCOUNT, a_lending
from services.risk_manager.tests.memory_store import MemoryStore
from services.risk_manager.tests.store_contract import StoreContract, World
from services.risk_manager.tests.turn_contract import TurnContract
from shared.domain.decisions import Approved, Review
from shared.domain.orders import IntentState
from shared.domain.signals import Evaluation, ManualOrder


class MemoryWorld:
    def __init__(self) -> None:
        self.account = ACCOUNT
        self.store = MemoryStore(ACCOUNT)

    async def adopt(self, cash: int) -> None:
        self.store.cash = Decimal(cash)

    async def pay_in(self, dollars: int) -> None:
        assert self.store.cash is not None
        self.store.cash += dollars
        self.store.paid_in += dollars

    async def fill(self, approved: Approved, price: str, quantity: str | None = None) -> None:
        filled = Decimal(quantity) if quantity else approved.quantity
        assert self.store.cash is not None
        self.store.cash -= approved.side.sign * filled * Decimal(price)
        held = sum(h.quantity for h in self.store.holdings if h.symbol == approved.symbol)
        self.store.holdings = [h for h in self.store.holdings if h.symbol != approved.symbol]
        quantity_now = held + approved.side.sign * filled
        if quantity_now:
            strategy = self.store.strategy_of(approved)
            entry = Protection(abs(quantity_now), approved.stop_loss, strategy)
            holding = Holding(approved.symbol, quantity_now, Decimal(price), (entry,))
            self.store.holdings.append(holding)
        if filled < approved.quantity:
            whole = Working.of(approved, self.store.strategy_of(approved))
            rest = replace(whole, quantity=approved.quantity - filled)
            self.store.working.append(rest)

    async def lends(self, *symbols: str) -> None:
        self.store.lending = a_lending(*symbols)

    async def send(self, approved: Approved, state: str) -> None:
        if not IntentState(state).is_final:
            self.store.working.append(Working.of(approved, self.store.strategy_of(approved)))
        if state == "UNKNOWN":
            self.store.unknown[approved.symbol] = 1

    async def executor_reads_all(self) -> None:
        self.store.executor_reads()

    async def announce(self, body: Evaluation | ManualOrder) -> None:
        stream = "strategy_engine" if isinstance(body, Evaluation) else "trade_executor"
        self.store.inbox.append(Inbound(stream, len(self.store.inbox) + 1, body))

    async def announced_reviews(self) -> list[Review]:
        return self.store.reviews


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class TestMemoryTurns(TurnContract):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld()


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def world(self) -> World:
        return MemoryWorld()
