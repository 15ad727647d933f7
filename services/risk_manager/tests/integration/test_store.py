"""The PostgreSQL store keeps the store's promises, and its limits under 200 parallel decisions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncConnection

from risk_manager.management import ManagementPlan
from risk_manager.modes import Change
from risk_manager.review import Outcome, review_evaluation, review_manual, source_of
from risk_manager.snapshot import Book
from risk_manager.store import PostgresStore
from risk_manager.testing import (
    AAPL,
    NOW,
    a_manual_order,
    a_market,
    a_signal,
    a_venue,
    an_evaluation,
    some_limits,
)
from services.risk_manager.tests.integration.postgres_world import PostgresWorld
from services.risk_manager.tests.store_contract import StoreContract, World, take
from shared.domain.decisions import Approved, Purpose, TradingMode
from shared.domain.lots import Execution
from shared.domain.orders import Side
from shared.domain.symbols import Symbol

pytestmark = pytest.mark.anyio


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def world(self, world: PostgresWorld) -> World:
        return world


async def test_a_buy_that_somebody_else_gave_at_the_broker_binds_cash(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    await world.order("NVDA", Decimal(0), "90", None, status="new")

    (order,) = (await world.store.book(NOW)).working

    assert (order.symbol, order.quantity, order.stop_loss) == (
        Symbol("NVDA"),
        Decimal(10),
        None,
    )
    assert order.cash(None) == 10 * 90 * Decimal("1.04")


async def test_what_the_owner_moves_is_no_result_and_what_the_shares_bring_is(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    for kind, dollars in (
        ("CSD", 5_000), ("CSW", -2_000), ("CSW_TAKEN_BACK", 2_000), ("JNLC", 300), ("ACATC", 40),
        ("DIV", 7), ("FEE", -3), ("INT", 2),
    ):  # fmt: skip
        await world.book_cash(kind, dollars)

    book = await world.store.book(NOW)

    assert (book.paid_in, book.cash) == (Decimal(5_340), Decimal(105_346))


async def test_what_was_decided_cannot_be_changed_by_its_owner(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    await take(world, an_evaluation(a_signal()))

    for table in ("decisions", "modes", "equity_points", "validations"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            await world.execute("risk_manager", f"UPDATE risk_manager.{table} SET account = 'x'")


async def test_the_executor_finds_a_mode_after_the_first_review(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    await take(world, an_evaluation())

    rows = await world.execute(
        "trade_executor", "SELECT mode, version FROM risk_manager.v_mode WHERE account = :account"
    )

    assert [tuple(row) for row in rows] == [("ACTIVE", 1)]


async def test_200_parallel_decisions_keep_every_limit_exactly(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    limits = some_limits(
        max_position_size=1.0,
        max_portfolio_risk=1.0,
        max_daily_trades=1_000,
        max_repeats=1_000,
        max_orders_per_minute=1_000,
    )
    # 25 dollars a share with a 4 % gap: 26 dollars each, so cash is enough for 3846 shares, 76 times 50.
    market = a_market({"AAPL": 25.0})

    async def ask(number: int) -> Outcome | None:
        order = a_manual_order(signal_id=f"man-{number}", quantity=50, stop_loss=24, take_profit=30)

        def decide(book: Book) -> Outcome:
            return review_manual(order, book, market, limits, a_venue(), NOW)

        return await world.store.record(source_of(order), decide, NOW)

    outcomes: list[Outcome | None] = []
    for start in range(0, 200, 40):
        # Within the pool's patience on a slow machine; 8 at a time reach the server.
        outcomes += await asyncio.gather(*(ask(number) for number in range(start, start + 40)))

    assert all(outcome is not None for outcome in outcomes)
    book = await world.store.book(NOW)
    assert len(book.working) == 76
    assert sum(order.cash(Decimal(25)) for order in book.working) == 76 * 50 * 26
    assert len(await world.announced_reviews()) == 200


async def test_a_halt_in_the_middle_of_parallel_decisions_is_seen_by_all_after_it(
    world: PostgresWorld,
) -> None:
    await world.adopt(1_000_000)
    market = a_market({"AAPL": 25.0})
    limits = some_limits(max_repeats=1_000, max_position_size=1.0, max_portfolio_risk=1.0)

    async def ask(number: int) -> None:
        order = a_manual_order(signal_id=f"man-{number}", quantity=1, stop_loss=24, take_profit=30)

        def decide(book: Book) -> Outcome:
            return review_manual(order, book, market, limits, a_venue(), NOW)

        await world.store.record(source_of(order), decide, NOW)

    async def halt() -> None:
        await world.store.change_mode(
            Change(TradingMode.HALTED, "drill", "test", NOW), some_limits()
        )

    await asyncio.gather(*(ask(n) for n in range(10)), halt(), *(ask(n) for n in range(10, 20)))

    decided = list(reversed(await world.store.decisions(limit=50)))
    versions = [int(s.decision.figures["mode_version"]) for s in decided]
    assert versions == sorted(versions)
    for stored in decided:
        is_halted = stored.decision.figures["mode_version"] == "2"
        assert stored.decision.is_approved is not is_halted


async def test_two_risk_managers_answer_a_message_once_between_them(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    twin = PostgresWorld(world.account, world.databases)
    evaluation = an_evaluation(a_signal())
    await world.announce(evaluation)
    inbound = await world.store.next_inbound()
    assert inbound is not None

    def decide(book: Book) -> Outcome:
        order = replace(a_manual_order(), signal_id="man-x")
        return review_manual(order, book, a_market({"AAPL": 100.0}), some_limits(), a_venue(), NOW)

    answers = await asyncio.gather(
        *(
            each.store.record(source_of(evaluation), decide, NOW, inbound=inbound)
            for each in (world, twin, world, twin)
        )
    )

    assert sum(answer is not None for answer in answers) == 1
    assert [w.purpose for w in (await world.store.book(NOW)).working] == [Purpose.ENTRY]


async def test_the_book_tells_what_happened_lately_at_the_broker_and_in_the_data(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    await world.order(Symbol("AAPL"), Decimal(10), "100", None)
    # A stop that was hit in two executions, and a sale that somebody else gave.
    await world.order(Symbol("AAPL"), Decimal(4), "95", None, side="sell", kind="stop")
    await world.order(
        Symbol("XOM"), Decimal(0), "120", None, side="sell", kind="limit", status="new"
    )
    await world.order(Symbol("GE"), Decimal(0), "120", None, side="sell", kind="stop", status="new")
    await world.execute(
        "trade_executor",
        "INSERT INTO trade_executor.differences (account, kind, subject, symbol, ours, theirs, evidence, "
        "opened_at, closed_at) VALUES (:account, 'POSITION', 'IBM', 'IBM', '1', '2', '{}', :at, NULL), "
        "(:account, 'POSITION', 'KO', 'KO', '1', '2', '{}', :at, :at)",
        at=NOW,
    )
    await world.execute(
        "data_collector",
        "INSERT INTO data_collector.quarantine (account, timeframe, provider, symbol, reason, raw, "
        "raw_digest, seen_at, released_at, release_reason) VALUES "
        "(:account, '1Min', 'sim', 'GM', 'spike', '{}', 'a', :at, NULL, NULL), "
        "(:account, '1Min', 'sim', 'KO', 'spike', '{}', 'b', :at, :at, 'it was a split')",
        at=NOW,
    )
    await world.execute(
        "data_collector",
        "INSERT INTO data_collector.symbol_holds (account, symbol, kind, reason, since_at, ended_at, "
        "end_reason) VALUES (:account, 'F', 'frozen', 'stands still', :at, NULL, NULL), "
        "(:account, 'F', 'disagreement', 'two disagree', :at, NULL, NULL), "
        "(:account, 'KO', 'frozen', 'stood still', :at, :at, 'it moves')",
        at=NOW,
    )
    await world.execute(
        "data_collector",
        "INSERT INTO data_collector.symbol_holds (account, symbol, kind, reason, since_at, last_on, step_on) "
        "VALUES (:account, 'T', 'split', 'a step', :at, :on, :on)",
        at=NOW,
        on=NOW.date(),
    )

    old_rule = PostgresStore(world.databases["risk_manager"], world.account, reads_day_trades=True)
    recent = (await old_rule.book(NOW)).recent

    assert [(hit.symbol, hit.at) for hit in recent.stops] == [("AAPL", NOW)]
    assert recent.day_trades == {NOW.date(): 1}
    assert (await world.store.book(NOW)).recent == replace(recent, day_trades={})
    assert {(order.symbol, order.side, order.limit_price) for order in recent.open_orders} == {
        ("XOM", Side.SELL, Decimal(120)), ("GE", Side.SELL, None),
    }  # fmt: skip
    assert recent.paused == {"IBM"}
    assert recent.refused_bars == {"GM": NOW}
    assert recent.held == {"F": "stands still; two disagree", "T": "a step"}
    assert recent.stepped == {"T"}


async def test_fills_know_whose_decision_they_were(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    approved = await take(world, an_evaluation(a_signal()))
    assert approved is not None
    await world.fill(approved, "100")
    await world.order(Symbol("XOM"), Decimal(3), "50", None)

    _, fills = await world.store.book_with_executions(NOW)
    kelly = PostgresStore(world.databases["risk_manager"], world.account, reads_records=True)

    assert [(f.symbol, f.strategy, f.quantity, f.price) for f in fills] == [
        (Symbol("AAPL"), "moving_average", approved.quantity, Decimal(100)),
        (Symbol("XOM"), "", Decimal(3), Decimal(50)),
    ]
    assert (await kelly.book(NOW)).recent.records == {}


async def test_what_is_held_and_what_was_filled_are_of_one_moment(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    await world.order(AAPL, Decimal(3), "50", None)

    class Interrupted(PostgresStore):
        async def _executions(self, connection: AsyncConnection) -> list[Execution]:
            await world.order(AAPL, Decimal(4), "50", None)
            return await super()._executions(connection)

    store = Interrupted(world.databases["risk_manager"], world.account)
    book, fills = await store.book_with_executions(NOW)

    assert [holding.quantity for holding in book.holdings] == [Decimal(3)]
    assert [fill.quantity for fill in fills] == [Decimal(3)]
    assert [h.quantity for h in (await world.store.book(NOW)).holdings] == [Decimal(7)]


async def test_a_position_is_explained_by_the_newest_entries_that_brought_it(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    bought = []
    for number in range(3):
        order = a_manual_order(signal_id=f"man-{number}")
        approved = await take(world, order)
        assert approved is not None
        await world.fill(approved, "100")
        bought.append(approved.decision_id)

    async def explained() -> list[tuple[str, Decimal]]:
        (holding,) = (await world.store.book(NOW)).holdings
        return [(entry.decision_id, shares) for entry, shares in holding.covered]

    ten = Decimal(10)
    assert await explained() == [(decision, ten) for decision in reversed(bought)]
    await world.order(Symbol("AAPL"), Decimal(15), "100", None, side="sell")
    assert await explained() == [(bought[-1], ten), (bought[-2], Decimal(5))]
    await world.execute(
        "trade_executor",
        "INSERT INTO trade_executor.adjustments (account, key, symbol, quantity, held_before, reason, evidence, "
        "entered_at) VALUES (:account, 'one for two', 'AAPL', -7.5, 15, 'SPLIT', '{}', :at)",
        at=NOW + timedelta(minutes=1),
    )
    # Half as many shares of twice the price: those of both entries together, not of the newest alone.
    assert await explained() == [(bought[-1], Decimal(5)), (bought[-2], Decimal("2.5"))]


async def test_a_sale_of_nothing_held_that_somebody_else_gave_will_be_owed(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    await world.order(Symbol("GE"), Decimal(10), "100", None)
    for symbol in ("GE", "XOM"):
        await world.order(
            Symbol(symbol), Decimal(0), "120", None, side="sell", kind="limit", status="new"
        )

    working = (await world.store.book(NOW)).working

    assert [(w.symbol, w.side, w.purpose) for w in working] == [("XOM", Side.SELL, Purpose.ENTRY)]


async def test_what_is_owed_is_explained_by_its_own_sale_whose_stop_tightens_downwards(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    bought = await take(world, a_manual_order(signal_id="man-1"))
    assert bought is not None
    await world.fill(bought, "100")
    await world.order(Symbol("AAPL"), Decimal(10), "100", None, side="sell")
    signal = an_evaluation(a_signal("MSFT"))

    def sold_short(book: Book) -> Outcome:
        """An approval of today's for another symbol, as one to sell AAPL short would be."""
        outcome = review_evaluation(
            signal, book, a_market({"MSFT": 100.0, "AAPL": 100.0}), some_limits(), a_venue(), NOW
        )
        (decision,) = outcome.decisions
        assert isinstance(decision.answer, Approved)
        short = replace(
            decision.answer, symbol=Symbol("AAPL"), side=Side.SELL, quantity=Decimal(10),
            stop_loss=Decimal(110), take_profit=Decimal(80),
        )  # fmt: skip
        review = replace(outcome.review, approved=(short,))
        return replace(outcome, review=review, decisions=(replace(decision, answer=short),))

    outcome = await world.store.record(source_of(signal), sold_short, NOW)
    assert outcome is not None
    (approved,) = outcome.review.approved
    await world.send(approved, "FILLED", Decimal(10))
    await world.order(
        Symbol("AAPL"), Decimal(10), "100", f"fat-{approved.signal_id}"[:48], side="sell"
    )
    await world.executor_reads_all()
    limits = some_limits(management=ManagementPlan(trailing_stop=0.03))
    at = NOW + timedelta(minutes=1)
    later = an_evaluation(at=at)

    def closed(book: Book) -> Outcome:
        return review_evaluation(later, book, a_market({"AAPL": 95.0}, at), limits, a_venue(), at)

    (before,) = (await world.store.book(NOW)).holdings
    await world.store.record(source_of(later), closed, at)
    (after,) = (await world.store.book(NOW)).holdings

    assert before.quantity == -10
    assert [(e.decision_id, e.stop) for e in before.entries] == [
        (approved.decision_id, Decimal(110))
    ]
    # From the review on, until the executor has read it.
    assert [e.stop for e in after.entries] == [Decimal("97.85")]


async def test_moved_stops_and_met_targets_are_part_of_the_next_book(world: PostgresWorld) -> None:
    await world.adopt(100_000)
    approved = await take(world, an_evaluation(a_signal()))
    assert approved is not None
    await world.fill(approved, "100")
    await world.executor_reads_all()
    limits = some_limits(
        management=ManagementPlan(trailing_stop=0.03, scale_out=((0.05, 0.5), (0.06, 0.1)))
    )

    async def bar(minute: int, price: float) -> Outcome:
        at = NOW + timedelta(minutes=minute)
        evaluation = an_evaluation(at=at)

        def decide(book: Book) -> Outcome:
            market = a_market({"AAPL": price}, at)
            return review_evaluation(evaluation, book, market, limits, a_venue(), at)

        outcome = await world.store.record(source_of(evaluation), decide, at, marks_equity=True)
        assert outcome is not None
        return outcome

    async def stops() -> list[Decimal | None]:
        (holding,) = (await world.store.book(NOW)).holdings
        return [entry.stop for entry, _ in holding.covered]

    await bar(1, 104)
    await bar(2, 103)
    # From the review on, until the executor has read it; from then on it stands where the executor keeps it.
    assert await stops() == [Decimal("100.88")]
    await world.executor_reads_all()
    assert await stops() == [Decimal(95)]
    await world.execute(
        "trade_executor",
        "UPDATE trade_executor.intents SET stop_loss = 100.88 WHERE account = :account",
    )
    assert await stops() == [Decimal("100.88")]

    sold = await bar(3, 107)
    assert [d.strategy for d in sold.decisions] == ["scale_out"]
    assert sold.review.moved == ()
    (holding,) = (await world.store.book(NOW)).holdings
    assert holding.scaled_out == {f"{approved.decision_id}@0.05", f"{approved.decision_id}@0.06"}
    rows = await world.execute(
        "trade_executor",
        "SELECT decision_id, previous, stop_loss FROM risk_manager.v_stop_moves WHERE account = :account",
    )
    assert [tuple(row) for row in rows] == [(approved.decision_id, Decimal(95), Decimal("100.88"))]
    assert [review.moved for review in await world.announced_reviews()][1][0].previous == 95
