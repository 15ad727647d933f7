"""An account that has traded for some weeks, and an executor that takes over what is approved.

Ten shares of each held symbol, each bought by a bracket whose legs rest at the broker; before them round trips that were won
and lost, an evaluation and a review for each minute, and a ledger that is summed up as the executor does it. Statements
are planned for what an account weighs, so it is laid before anything is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from shared.adapters.postgres import Cursor, Database, Outbox
from shared.domain.signals import Evaluation, ManualOrder
from shared.domain.symbols import Symbol
from shared.messages import EVALUATION, EVALUATIONS, MANUAL_ORDER, MANUAL_ORDERS

ACCOUNT = "bench"
# Round trips before what is held, one every twenty minutes, and minutes that were evaluated and reviewed.
_TRIPS = 720
_MINUTES = 2_000
# The executor sums the ledger up every five hundred fills, so half as many wait on average; these are of round trips that
# cancel out.
_FILLS_SUMMED = 2 * _TRIPS - 250

_HISTORY = (
    "INSERT INTO trade_executor.accounts VALUES (:a, 'b', :began, :began)",
    """INSERT INTO trade_executor.cash_entries (account, key, amount, reason, evidence, entered_at)
       VALUES (:a, 'opening', 10000000, 'opening', '{}', :began)""",
    """INSERT INTO strategy_engine.outbox (account, topic, key, payload, created_at)
       SELECT :a, 'evaluations', 'past-' || n, jsonb_build_object('v', 1, 'body', n), :began
       FROM generate_series(1, CAST(:minutes AS int)) n""",
    """INSERT INTO trade_executor.outbox (account, topic, key, payload, created_at)
       SELECT :a, 'executions', 'past-' || n, jsonb_build_object('v', 1, 'body', n), :began
       FROM generate_series(1, CAST(:minutes AS int)) n""",
    """INSERT INTO risk_manager.outbox (account, topic, key, payload, created_at)
       SELECT :a, 'reviews', 'past-' || n, jsonb_build_object('v', 1, 'body', repeat('a check in words ', 200)), :began
       FROM generate_series(1, CAST(:minutes AS int)) n""",
    """INSERT INTO risk_manager.equity_points (account, source, instant_at, cash, equity, peak_equity, drawdown,
           gross_exposure, net_exposure, mode_version, day_equity)
       SELECT :a, 'past-' || n, CAST(:past AS timestamptz) - (CAST(:minutes AS int) - n) * interval '1 minute', 9900000,
           10000000, 10000000, 0, 100000, 100000, 0, 10000000
       FROM generate_series(1, CAST(:minutes AS int)) n""",
    """INSERT INTO risk_manager.decisions (account, decision_id, signal_id, source, review_id, instant_at,
           decided_at, outcome, strategy, symbol, side, purpose, quantity, type, time_in_force, stop_loss,
           take_profit, reference_price, act_from, act_until, trade_on, checks, figures)
       SELECT :a, 'd-' || n, 's-' || n, 'past-' || n, n, t, t, 'approved', 'bench', s, 'buy', 'entry', 10,
           'market', 'gtc', 95, 110, 100, t, t, t::date, '[]', '{}'
       FROM trips ORDER BY n""",
    """INSERT INTO trade_executor.intents (account, client_order_id, decision_id, signal_id, symbol, side, purpose,
           leg, generation, type, time_in_force, order_class, quantity, filled_quantity, stop_loss,
           take_profit, reference_price, state, act_from, act_until, created_at, ended_at)
       SELECT :a, 'i-' || n, 'd-' || n, 's-' || n, s, 'buy', 'entry', 'entry', 0, 'market', 'gtc', 'bracket', 10,
           10, 95, 110, 100, 'FILLED', t, t, t, t
       FROM trips ORDER BY n""",
    """INSERT INTO trade_executor.orders (account, broker_order_id, client_order_id, intent_id, parent_order_id, symbol,
           side, type, order_class, status, quantity, filled_quantity, booked_quantity, limit_price, stop_price,
           updated_at, first_seen_at)
       SELECT :a, leg || n, 'c-' || leg || n, CASE leg WHEN 'o-' THEN 'i-' || n END,
           CASE leg WHEN 'o-' THEN NULL ELSE 'o-' || n END, s, CASE leg WHEN 'o-' THEN 'buy' ELSE 'sell' END,
           CASE leg WHEN 'o-' THEN 'market' WHEN 'p-' THEN 'limit' ELSE 'stop' END, 'bracket',
           CASE WHEN leg = 'o-' THEN 'filled' WHEN NOT is_held THEN CASE leg WHEN won THEN 'filled' ELSE 'canceled' END
               WHEN leg = 'p-' THEN 'new' ELSE 'held' END,
           10, filled, filled, CASE leg WHEN 'p-' THEN 110 END, CASE leg WHEN 'l-' THEN 95 END, t, t
       FROM (SELECT *, CASE WHEN leg = 'o-' OR leg = won AND NOT is_held THEN 10 ELSE 0 END AS filled
             FROM trips, unnest(ARRAY['o-', 'p-', 'l-']) leg) legs ORDER BY n""",
    """INSERT INTO trade_executor.fills (account, execution_id, broker_order_id, symbol, side, quantity,
           price, executed_at, booked_at)
       SELECT :a, 'e-' || side || n, CASE side WHEN 'buy' THEN 'o-' ELSE won END || n, s, side, 10, 100, t, t
       FROM trips, unnest(ARRAY['buy', 'sell']) side WHERE side = 'buy' OR NOT is_held ORDER BY n, side""",
    """INSERT INTO trade_executor.cash_marks (account, through_id, cash)
       SELECT :a, id, 0 FROM trade_executor.fills ORDER BY id OFFSET CAST(:summed AS int) - 1 LIMIT 1""",
    """INSERT INTO trade_executor.position_marks (account, through_id, symbol, quantity)
       SELECT :a, (SELECT through_id FROM trade_executor.cash_marks), s, 0
       FROM unnest(CAST(:symbols AS text[])) s""",
    """INSERT INTO trade_executor.cursors (source, account, position)
       SELECT 'risk_manager', :a, max(id) FROM risk_manager.outbox""",
    """INSERT INTO risk_manager.cursors (source, account, position)
       SELECT 'strategy_engine', :a, max(id) FROM strategy_engine.outbox""",
    # As autovacuum keeps a database that has been up for a minute.
    "ANALYZE",
)
# One in four round trips ended at its stop ('l-'), the others at their target ('p-'); what is held comes last.
_ROUND_TRIPS = """
CREATE TEMP TABLE trips AS
WITH told AS (SELECT CAST(:trips AS int) AS trips, CAST(:held AS int) AS held, CAST(:symbols AS text[]) AS symbols)
SELECT n, symbols[CASE WHEN n > trips THEN n - trips ELSE 1 + n % cardinality(symbols) END] AS s,
    CAST(:past AS timestamptz) - (trips + held - n) * interval '20 minutes' AS t,
    CASE WHEN n % 4 = 0 THEN 'l-' ELSE 'p-' END AS won, n > trips AS is_held
FROM told, generate_series(1, trips + held) n
"""
# Every approval of one review: sent, and ended without a fill, so that the next decision finds the account as before.
_TAKEN_OVER = text("""
INSERT INTO trade_executor.intents (account, client_order_id, decision_id, signal_id, symbol, side, purpose,
    leg, generation, type, time_in_force, order_class, quantity, filled_quantity, stop_loss,
    take_profit, reference_price, state, act_from, act_until, created_at, ended_at)
SELECT account, 'i-' || decision_id, decision_id, signal_id, symbol, side, purpose, purpose, 0, type, time_in_force,
    CASE purpose WHEN 'entry' THEN 'bracket' ELSE 'simple' END, quantity, 0, stop_loss, take_profit,
    reference_price, 'EXPIRED', act_from, act_until, decided_at, decided_at
FROM risk_manager.v_decisions WHERE account = :a AND outcome = 'approved' AND review_id > :read
""")


async def lay_account(
    url: str, held: Sequence[Symbol], others: Sequence[Symbol], now: datetime
) -> None:
    """Ten shares of each of `held`, and a history in them and in `others` that ends a day before `now`."""
    values = {
        "a": ACCOUNT,
        "began": now - timedelta(days=60),
        "past": now - timedelta(days=1),
        "minutes": _MINUTES,
        "trips": _TRIPS,
        "held": len(held),
        "summed": _FILLS_SUMMED,
        "symbols": [*held, *others],
    }
    engine = create_async_engine(url)
    async with engine.begin() as connection:
        for statement in (_ROUND_TRIPS, *_HISTORY):
            wanted = text(statement)
            await connection.execute(
                wanted, {name: values[name] for name in wanted.compile().params}
            )
    await engine.dispose()


async def announce(database: Database, schema: str, body: Evaluation | ManualOrder) -> None:
    """Commit a message as the service of that schema does."""

    async def write(connection: AsyncConnection) -> None:
        await Outbox(schema, ACCOUNT).append(
            connection,
            topic=MANUAL_ORDERS if isinstance(body, ManualOrder) else EVALUATIONS,
            key=body.signal_id if isinstance(body, ManualOrder) else body.instant_at.isoformat(),
            payload=MANUAL_ORDER.encode(body)
            if isinstance(body, ManualOrder)
            else EVALUATION.encode(body),
            at=body.requested_at if isinstance(body, ManualOrder) else body.instant_at,
        )

    await database.run(write)


async def take_over(database: Database) -> None:
    """Read the newest reviews as the executor does, make an intent of each approval, and let it end unfilled."""
    cursor = Cursor("trade_executor", "risk_manager", ACCOUNT)

    async def take(connection: AsyncConnection) -> None:
        found = await connection.execute(
            text("SELECT max(id) FROM risk_manager.v_outbox WHERE account = :a"), {"a": ACCOUNT}
        )
        read = await cursor.position(connection)
        await connection.execute(_TAKEN_OVER, {"a": ACCOUNT, "read": read})
        await cursor.move(connection, found.scalar_one())

    await database.run(take)
