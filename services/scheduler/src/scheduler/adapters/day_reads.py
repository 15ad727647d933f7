"""Which rows does the report of a day rest on? Bounded reads of the services' views, in one transaction."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from scheduler.daily_report import Day
from shared.adapters.executions import executions_of_traded
from shared.adapters.postgres import Database
from shared.domain.calendar import NEW_YORK, Session

_EQUITY = """
    SELECT (SELECT equity FROM risk_manager.v_equity WHERE account = :account AND instant_at < :start_at
            ORDER BY id DESC LIMIT 1) AS before,
           (SELECT paid_in FROM risk_manager.v_equity WHERE account = :account AND instant_at < :start_at
            ORDER BY id DESC LIMIT 1) AS paid_before,
           (SELECT paid_in FROM risk_manager.v_equity WHERE account = :account AND instant_at >= :start_at
            AND instant_at < :end_at ORDER BY id LIMIT 1) AS paid_first,
           (SELECT equity FROM risk_manager.v_equity WHERE account = :account AND instant_at >= :start_at
            AND instant_at < :end_at ORDER BY id LIMIT 1) AS first,
           min(equity) AS lowest
    FROM risk_manager.v_equity
    WHERE account = :account AND instant_at >= :start_at AND instant_at < :end_at"""
_CLOSE = """
    SELECT equity, drawdown, gross_exposure, paid_in FROM risk_manager.v_equity
    WHERE account = :account AND instant_at < :end_at ORDER BY id DESC LIMIT 1"""
_SIGNALS = """
    SELECT count(*) FROM strategy_engine.v_signals
    WHERE account = :account AND bar_end_at >= :start_at AND bar_end_at < :end_at"""
_REFUSED = """
    SELECT reason_code, count(*) AS many, max(symbol || ': ' || reason) AS example
    FROM risk_manager.v_decisions
    WHERE account = :account AND outcome = 'refused' AND decided_at >= :start_at AND decided_at < :end_at
    GROUP BY reason_code ORDER BY many DESC, reason_code LIMIT 40"""
_APPROVED = """
    SELECT count(*) FROM risk_manager.v_decisions
    WHERE account = :account AND outcome = 'approved' AND decided_at >= :start_at AND decided_at < :end_at"""
# The largest first: what moved most money is read first. The entry of a turn has its reason from the wish that its exit
# was the answer to, as `wish_of` names it.
_DECISIONS = """
    SELECT d.decided_at, d.symbol, d.purpose, d.side, d.quantity, d.strategy, s.reason AS why,
           CASE WHEN d.figures ->> 'no_price' IS NULL THEN d.reference_price END AS reference_price
    FROM risk_manager.v_decisions d
    LEFT JOIN strategy_engine.v_signals s ON s.account = d.account AND s.signal_id = regexp_replace(d.signal_id, '^trn-', 'sig-')
    WHERE d.account = :account AND d.outcome = 'approved' AND d.decided_at >= :start_at
      AND d.decided_at < :end_at
    ORDER BY d.quantity * d.reference_price DESC NULLS LAST, d.id LIMIT 12"""
_FILLS = """
    SELECT f.executed_at, f.symbol, f.side, f.quantity, f.price, f.fee, i.purpose = 'entry' AND i.side = f.side AS opens
    FROM trade_executor.v_fills f
    LEFT JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
    WHERE f.account = :account AND f.executed_at >= :start_at AND f.executed_at < :end_at
    ORDER BY f.id LIMIT 2000"""
_FEES = """
    SELECT coalesce(sum(fee), 0) FROM trade_executor.v_fills
    WHERE account = :account AND executed_at >= :start_at AND executed_at < :end_at"""
# Positive is worse for us; resting stops and targets have no deciding price of their own.
_SLIPPAGE = """
    SELECT sum(CASE f.side WHEN 'buy' THEN f.price - i.reference_price ELSE i.reference_price - f.price END
               * f.quantity)
    FROM trade_executor.v_fills f
    JOIN trade_executor.v_intents i ON i.account = f.account AND i.client_order_id = f.client_order_id
    JOIN trade_executor.v_orders o ON o.account = f.account AND o.broker_order_id = f.broker_order_id
    WHERE f.account = :account AND f.executed_at >= :start_at AND f.executed_at < :end_at
      AND o.type = 'market' AND o.parent_order_id IS NULL
      -- What was let go without a price that anybody knew has none to compare with.
      AND NOT EXISTS (SELECT FROM risk_manager.v_decisions d
                      WHERE d.account = i.account AND d.decision_id = i.decision_id AND d.figures ->> 'no_price' IS NOT NULL)"""
# At most as many marks as the drawing has points to show.
_MARKS = """
    SELECT DISTINCT ON (bucket) instant_at, equity FROM (
        SELECT id, instant_at, equity, (row_number() OVER (ORDER BY id) - 1) * 400 / count(*) OVER () AS bucket
        FROM risk_manager.v_equity
        WHERE account = :account AND instant_at >= :start_at AND instant_at < :end_at) AS marks
    ORDER BY bucket, id DESC"""
# All executions of what was traded that day, since lots are matched from the first one on.
_MOST_MATCHED = 20_000
# What is held now without what came after the day, so that a day reads the same whenever it is read.
_POSITIONS = """
    SELECT symbol, sum(quantity) AS quantity FROM (
        SELECT symbol, quantity FROM trade_executor.v_positions WHERE account = :account
        UNION ALL
        SELECT symbol, CASE side WHEN 'buy' THEN -quantity ELSE quantity END
        FROM trade_executor.v_fills WHERE account = :account AND executed_at >= :end_at
        UNION ALL
        SELECT symbol, -quantity
        FROM trade_executor.v_adjustments WHERE account = :account AND entered_at >= :end_at
    ) AS moves
    GROUP BY symbol HAVING sum(quantity) <> 0 ORDER BY symbol LIMIT 500"""
_EXCEPTIONS = """
    SELECT words FROM (
        SELECT 1 AS rank, 'order of unknown outcome: ' || side || ' ' || trim_scale(quantity) || ' ' || symbol AS words
        FROM trade_executor.v_intents WHERE account = :account AND state = 'UNKNOWN'
        UNION ALL
        SELECT 2, 'difference with the broker, ' || kind || ' ' || subject || ': we have ' || ours || ', they have ' || theirs
        FROM trade_executor.v_differences
        WHERE account = :account AND opened_at < :end_at AND (closed_at IS NULL OR closed_at >= :start_at)
        UNION ALL
        SELECT 3, 'trading was ' || mode || ': ' || reason || ' (' || actor || ')'
        FROM risk_manager.v_modes
        WHERE account = :account AND version > 1 AND changed_at >= :start_at AND changed_at < :end_at
        UNION ALL
        SELECT 4, 'order refused by the broker: ' || side || ' ' || trim_scale(quantity) || ' ' || symbol || ': '
               || coalesce(reason, '')
        FROM trade_executor.v_intents
        WHERE account = :account AND state = 'REJECTED' AND ended_at >= :start_at AND ended_at < :end_at
        UNION ALL
        SELECT 5, 'job ' || lower(state) || ': ' || job_id || ' ' || detail
        FROM scheduler.v_job_runs
        WHERE account = :account AND state IN ('FAILED', 'MISSED') AND due_at >= :start_at AND due_at < :end_at
    ) AS all_of_them ORDER BY rank LIMIT 40"""


class PostgresDays:
    """Reads one account's days."""

    def __init__(self, database: Database, account: str) -> None:
        self._database = database
        self._account = account

    async def day(self, session: Session, next_session: str) -> Day:
        """Everything about the exchange day of `session`."""
        midnight = datetime.combine(session.on, time(), NEW_YORK)
        end_at = midnight + timedelta(days=1)
        span = {"account": self._account, "start_at": midnight, "end_at": end_at}

        async def work(connection: AsyncConnection) -> Day:
            async def rows(query: str) -> list[dict[str, Any]]:
                values = {name: value for name, value in span.items() if f":{name}" in query}
                return [dict(row._mapping) for row in await connection.execute(text(query), values)]

            async def one(query: str) -> Any:
                return next(iter((await rows(query))[0].values()))

            marks = (await rows(_EQUITY))[0]
            close = next(iter(await rows(_CLOSE)), None)
            paid_from = marks["paid_first" if marks["before"] is None else "paid_before"]
            paid_to = None if close is None else close["paid_in"]
            slippage = await one(_SLIPPAGE)
            executions = await executions_of_traded(
                connection, self._account, midnight, end_at, _MOST_MATCHED
            )
            return Day(
                account=self._account,
                on=session.on,
                # An account's first day begins with its own first valuation.
                equity_before=marks["first"] if marks["before"] is None else marks["before"],
                equity_after=None if close is None else close["equity"],
                lowest_equity=marks["lowest"],
                drawdown=None if close is None else float(close["drawdown"]),
                gross_exposure=None if close is None else close["gross_exposure"],
                fees=Decimal(await one(_FEES)),
                slippage=None if slippage is None else Decimal(slippage),
                signals=int(await one(_SIGNALS)),
                approved=int(await one(_APPROVED)),
                refused=await rows(_REFUSED),
                fills=await rows(_FILLS),
                positions=await rows(_POSITIONS),
                decisions=await rows(_DECISIONS),
                exceptions=[str(row["words"]) for row in await rows(_EXCEPTIONS)],
                next_session=next_session,
                marks=[(row["instant_at"], row["equity"]) for row in await rows(_MARKS)],
                executions=executions,
                # Marks from before the sum was kept say nothing of payments.
                paid_in=Decimal(0) if paid_from is None or paid_to is None else paid_to - paid_from,
            )

        return await self._database.run(work)
