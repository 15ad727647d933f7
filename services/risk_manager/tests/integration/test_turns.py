"""Positions are turned around, and shorts approved, by what the real database tells."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy.exc import IntegrityError

from risk_manager.exposure import Exposure
from risk_manager.limits import Code
from risk_manager.snapshot import Word
from risk_manager.testing import AAPL, NOW, a_market
from services.risk_manager.tests.integration.postgres_world import PostgresWorld
from services.risk_manager.tests.store_contract import World
from services.risk_manager.tests.turn_contract import (
    LONG,
    SHORT,
    TurnContract,
    close,
    minute,
    the_answer,
    turned,
    wish,
)
from shared.domain.decisions import Approved, Refused
from shared.domain.orders import Side
from shared.domain.signals import Direction

pytestmark = pytest.mark.anyio


class TestPostgresTurns(TurnContract):
    @pytest.fixture
    def world(self, world: PostgresWorld) -> World:
        return world


async def test_the_book_knows_the_brokers_word_of_what_is_wished_to_be_sold_short(
    world: PostgresWorld,
) -> None:
    await turned(world)
    await world.execute(
        "trade_executor",
        "INSERT INTO trade_executor.lending VALUES (:account, 'MSFT', false, :at)",
        at=NOW,
    )

    lending = (await world.store.book(NOW)).lending

    # Of MSFT nothing is wished.
    assert lending.account == Word(True, NOW)
    assert lending.shares == {AAPL: Word(True, NOW)}


async def test_a_share_that_nobody_asked_the_broker_about_is_not_sold_short(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)

    unknown = the_answer(await close(world, 1, wish(world, SHORT, 1)))
    await world.lends("AAPL")
    known = the_answer(await close(world, 2, wish(world, SHORT, 2)))

    assert isinstance(unknown, Refused)
    assert unknown.reason_code == Code.SHORT_AVAILABILITY
    assert isinstance(known, Approved)
    assert (known.side, known.stop_loss) == (Side.SELL, Decimal(105))


async def test_an_open_order_that_somebody_else_gave_says_nothing_of_our_side(
    world: PostgresWorld,
) -> None:
    await world.adopt(100_000)
    for side in ("sell", "buy"):
        await world.order("AAPL", Decimal(0), "100", None, side=side, kind="limit", status="new")

    exposure = Exposure.of(await world.store.book(NOW), a_market({"AAPL": 100.0}))

    assert exposure.there(AAPL) == 20
    assert (exposure.side_of(AAPL), exposure.reducible(AAPL)) == (None, Decimal(0))


@pytest.mark.parametrize(("direction", "stop", "away"), [(LONG, "97", "94"), (SHORT, "103", "106")])
async def test_a_stop_is_stored_moving_towards_the_price_alone(
    world: PostgresWorld, direction: Direction, stop: str, away: str
) -> None:
    await world.adopt(100_000)
    await world.lends("AAPL")
    entered = the_answer(await close(world, 1, wish(world, direction, 1)))
    assert isinstance(entered, Approved)
    insert = (
        "INSERT INTO risk_manager.stop_moves (account, review_id, decision_id, symbol, side, stop_loss, "
        "previous, reason, decided_at) SELECT account, review_id, decision_id, symbol, :side, :stop, "
        "stop_loss, 'a test', :at FROM risk_manager.decisions WHERE account = :account"
    )
    values = {"side": entered.side, "at": NOW}

    with pytest.raises(IntegrityError, match="stop_moves_check"):
        await world.execute("risk_manager", insert, **values, stop=Decimal(away))
    await world.execute("risk_manager", insert, **values, stop=Decimal(stop))


async def test_turns_that_have_had_their_answer_hide_none_that_waits(world: PostgresWorld) -> None:
    wished = await turned(world)
    others = (
        "INSERT INTO risk_manager.decisions (account, decision_id, signal_id, source, review_id, "
        "instant_at, decided_at, outcome, strategy, symbol, side, purpose, quantity, type, "
        "time_in_force, reference_price, act_from, act_until, trade_on, checks, figures) "
        "SELECT account, 'dec-' || p || '-' || :account || n, p || '-' || :account || n, source, "
        "review_id, instant_at, decided_at, outcome, strategy, 'MSFT', side, purpose, quantity, type, "
        "time_in_force, reference_price, act_from, act_until, trade_on, checks, "
        "CASE p WHEN 'sig' THEN figures ELSE figures - 'turns_to' END "
        "FROM risk_manager.decisions, unnest(ARRAY['sig', 'trn']) p, generate_series(1, 201) n "
        "WHERE account = :account AND signal_id = :wished"
    )
    await world.execute("risk_manager", others, wished=wished.signal_id)

    assert [turn.because for turn in (await world.store.book(minute(2))).turns] == [
        wished.signal_id
    ]
