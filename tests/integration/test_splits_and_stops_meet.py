"""What the executor keeps of a position is what the risk manager reckons with: through a split, and when stops move."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from risk_manager.exposure import Exposure
from risk_manager.limits import Code
from risk_manager.management import ManagementPlan
from risk_manager.review import Outcome, review_evaluation, source_of
from risk_manager.snapshot import Book, Market
from risk_manager.store import PostgresStore
from risk_manager.testing import a_market, a_signal, a_venue, an_evaluation, some_limits
from services.trade_executor.tests.integration.conftest import calendar
from services.trade_executor.tests.integration.recordkeeping import AAPL, Desk, Play, play
from services.trade_executor.tests.integration.splitting import holds, told
from shared.domain.corporate_actions import Split
from shared.domain.orders import OrderTerms
from shared.domain.symbols import Symbol
from simulator.orders import Cancel

__all__ = ["calendar", "play"]

ON = date(2026, 1, 6)
TEN_FOR_ONE = Split(AAPL, ON, Decimal(10), Decimal(1))
MANAGED = some_limits(
    max_position_size=0.5,
    max_portfolio_risk=0.5,
    management=ManagementPlan(trailing_stop=0.05, scale_out=((0.04, 0.5),), rebalance_band=0.1),
)


class Risk:
    """The risk manager's store and review beside the executor's desk."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.store = PostgresStore(desk.risk, desk.account)

    def market(self, price: float, *splits: Split) -> Market:
        at = self.desk.clock.now()
        found = a_market({"AAPL": price, "MSFT": 100.0}, at)
        return replace(found, splits={AAPL: splits} if splits else {}, on=ON)

    async def seen(self, market: Market) -> tuple[Book, Exposure]:
        book = await self.store.book(self.desk.clock.now())
        return book, Exposure.of(book, market)

    async def bar(self, market: Market, *wishes: Any) -> Outcome:
        """A bar has closed: what is answered, which the executor then takes."""
        outcome = await self.decided(market, *wishes)
        await self.desk.store.reviews.take(at=self.desk.clock.now(), halt_note=None)
        return outcome

    async def decided(self, market: Market, *wishes: Any) -> Outcome:
        """A bar has closed: what is answered, which the executor has not read."""
        at = self.desk.clock.now()
        evaluation = replace(an_evaluation(*wishes, at=at), account=self.desk.account)

        def decide(book: Book) -> Outcome:
            return review_evaluation(evaluation, book, market, MANAGED, a_venue(), at)

        outcome = await self.store.record(source_of(evaluation), decide, at, marks_equity=True)
        assert outcome is not None
        self.desk.clock.advance(60)
        return outcome

    def wish(self, symbol: Symbol, price: float) -> Any:
        at = self.desk.clock.now()
        signal = a_signal(symbol, price=price, at=at)
        return replace(signal, account=self.desk.account)


async def stops(desk: Desk) -> list[Any]:
    rows = await desk.store.reads.find_orders(limit=50)
    return [
        row["stop_loss"] for row in rows if row["purpose"] == "entry" and row["filled_quantity"]
    ]


def test_a_split_changes_neither_worth_nor_risk_whether_prices_or_the_ledger_come_first(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.clock.advance(timedelta(days=1))
        risk = Risk(desk)
        before, at_first = await risk.seen(risk.market(100))
        worth, at_risk = at_first.equity, at_first.risk
        assert at_risk == 10 * (100 - 90)

        # Prices of the new shares have come, and the ledger still holds the old ones.
        _, early = await risk.seen(risk.market(10, TEN_FOR_ONE))
        assert (early.equity, early.risk) == (worth, at_risk)
        assert "10:1 of 2026-01-06 is not booked yet" in early.unsettled[AAPL].why

        told(desk, "SPLIT", symbol="AAPL", qty="90", date="2026-01-06")
        holds(desk, AAPL, 100)
        assert (await desk.compare()).positions_agree
        book, booked = await risk.seen(risk.market(10, TEN_FOR_ONE))
        assert booked.unsettled == {}
        assert (booked.equity, booked.risk) == (worth, at_risk)
        [(entry, shares)] = book.holdings[0].covered
        assert (shares, entry.stop, entry.reference) == tuple(map(Decimal, (100, 9, 10)))
        assert book.holdings[0].last_fill_price == before.holdings[0].last_fill_price / 10  # type: ignore[operator]

        # The data knows of no split, and its newest bar is one of the evening before.
        yesterday = replace(risk.market(100), on=ON)
        old_bar = {
            s: replace(p, end_at=p.end_at.replace(day=5)) for s, p in yesterday.prices.items()
        }
        _, late = await risk.seen(replace(yesterday, prices=old_bar))
        assert (late.equity, late.risk) == (worth, at_risk)

    play(scenario)


def test_between_a_split_and_the_look_of_a_person_nothing_is_bought_sold_or_moved(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.clock.advance(timedelta(days=1))
        risk = Risk(desk)
        # A tenth of the price is no crash: no breach, no sale, no stop that follows, and no more of it.
        unbooked = await risk.bar(risk.market(10.5, TEN_FOR_ONE), risk.wish(AAPL, 10.5))
        [refused] = unbooked.review.refused
        [doubt] = [c for c in refused.checks if c.code == Code.SYMBOL_QUARANTINED]
        assert not doubt.passed
        assert "not booked yet" in doubt.text
        assert (unbooked.review.approved, unbooked.review.moved) == ((), ())
        assert unbooked.reduce_because is None

        told(desk, "SPLIT", symbol="AAPL", qty="90", date="2026-01-06")
        holds(desk, AAPL, 100)
        await desk.compare()
        unseen = await risk.bar(risk.market(10.5, TEN_FOR_ONE), risk.wish(AAPL, 10.5))
        [refused] = unseen.review.refused
        assert not next(c.passed for c in refused.checks if c.code == Code.SYMBOL_HALTED)
        assert (unseen.review.approved, unseen.review.moved) == ((), ())
        assert unseen.reduce_because is None

        await desk.store.differences.acknowledge([AAPL], actor="a person", at=desk.clock.now())
        later = await risk.bar(risk.market(10.5, TEN_FOR_ONE))
        # Half of the hundred shares at a gain of 5 %: reckoned from the price in the new shares.
        assert [(d.strategy, d.quantity) for d in later.decisions] == [("scale_out", Decimal(50))]

    play(scenario)


@pytest.mark.parametrize("limit", [None, Decimal(88)])
def test_a_stop_moves_with_its_own_limit_and_both_sides_know_where_it_stands(
    play: Play, limit: Decimal | None
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held(terms=OrderTerms(stop_loss_limit=limit))
        risk = Risk(desk)
        outcome = await risk.bar(risk.market(103))
        assert [move.stop_loss for move in outcome.review.moved] == [Decimal("97.85")]
        book, _ = await risk.seen(risk.market(103))
        assert [entry.stop for entry, _ in book.holdings[0].covered] == [Decimal("97.85")]
        assert await stops(desk) == [Decimal("97.85")]
        [old] = [
            o for o in (await desk.store.outgoing.work_at(desk.clock.now())).cancels if o.stop_price
        ]
        assert old.stop_price == 90
        for order in [o for o in desk.floor.book.open_orders() if o.stop_price is not None]:
            desk.floor.do(Cancel(order.id))
        await desk.compare()
        [planned] = (await desk.store.outgoing.work_at(desk.clock.now())).due
        assert planned.stop_loss == Decimal("97.85")
        assert planned.stop_loss_limit == (None if limit is None else Decimal("95.85"))

    play(scenario)


def test_a_move_from_before_a_split_is_void(play: Play) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.held()
        desk.clock.advance(timedelta(days=1))
        risk = Risk(desk)
        # The second follows the first, which the executor has not read either.
        for price, stop in ((102, Decimal("96.9")), (103, Decimal("97.85"))):
            outcome = await risk.decided(risk.market(price))
            assert [move.stop_loss for move in outcome.review.moved] == [stop]
            book, _ = await risk.seen(risk.market(price))
            assert [entry.stop for entry, _ in book.holdings[0].covered] == [stop]
        told(desk, "SPLIT", symbol="AAPL", qty="90", date="2026-01-06")
        holds(desk, AAPL, 100)
        await desk.compare()
        for _ in range(2):
            # Before the executor has read the move, and after it.
            book, _ = await risk.seen(risk.market(10.3, TEN_FOR_ONE))
            assert [entry.stop for entry, _ in book.holdings[0].covered] == [Decimal(9)]
            await desk.store.reviews.take(at=desk.clock.now(), halt_note=None)
        assert await stops(desk) == [Decimal(9)]

    play(scenario)
