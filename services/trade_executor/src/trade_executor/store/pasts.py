"""What became of the orders that guard a bracket?

Reads alone; `guarding.held_back` decides what follows for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from shared.domain.orders import IntentState, Side
from shared.domain.symbols import Symbol
from trade_executor.guarding import Past
from trade_executor.lifecycle import Intent
from trade_executor.store.tables import FINAL, SCHEMA, Tables

# An order `o` that the broker has ended; one for a day ends with it, and says nothing.
_IS_ENDED = f"""(o.status IN ('canceled', 'rejected') OR o.status = 'expired' AND 'day' <> (
    SELECT i.time_in_force FROM {SCHEMA}.intents i
    WHERE i.account = o.account AND i.client_order_id = o.intent_id))"""


@dataclass(frozen=True, slots=True)
class Made:
    """The orders that took the place of a bracket's legs."""

    past: Past
    number: int
    # Whether legs of the bracket's own order were ever seen.
    has_known_legs: bool


class Pasts(Tables):
    """The history of each bracket's guards."""

    async def of_bracket(
        self,
        connection: AsyncConnection,
        symbol: Symbol,
        signal_id: str,
        side: Side,
        entry: Intent | None = None,
    ) -> Made:
        """The history of the bracket of that signal.

        Args:
            side: of the orders that guard it.
            entry: whose legs guarded it first, if it is a bracket of ours: they count once it has filled, for the broker
                arms them then.
        """
        has_filled = entry is not None and entry.state is IntentState.FILLED
        row = await self._one(
            connection,
            f"""WITH made AS (
                    SELECT sequence, client_order_id, state, ended_at, broker_order_id, sent_at
                    FROM {SCHEMA}.intents
                    WHERE account = :account AND signal_id = :signal AND leg = 'protect'),
                taken AS (
                    SELECT sequence, client_order_id, sent_at FROM made
                    WHERE broker_order_id IS NOT NULL AND state <> 'REJECTED'
                    UNION ALL
                    SELECT 0, CAST(:entry AS text), CAST(:sent_at AS timestamptz) WHERE :has_filled
                    ORDER BY sequence DESC LIMIT 1),
                refused AS (
                    SELECT count(*) AS many, max(ended_at) AS at FROM made
                    WHERE state = 'REJECTED' AND sequence > coalesce((SELECT sequence FROM taken), 0))
                SELECT (SELECT count(*) FROM made) AS number, refused.many AS refused, refused.at AS refused_at,
                    EXISTS (SELECT FROM {SCHEMA}.orders WHERE account = :account
                        AND parent_order_id = :order_id) AS has_known_legs,
                    -- Nothing is read where nothing was refused.
                    refused.many > 0 AND (
                        EXISTS (SELECT FROM {SCHEMA}.fills WHERE account = :account
                            AND symbol = :symbol AND booked_at > refused.at)
                        OR EXISTS (SELECT FROM {SCHEMA}.adjustments WHERE account = :account
                            AND symbol = :symbol AND entered_at > refused.at)) AS changed_since,
                    coalesce((
                        SELECT bool_and(o.status IN {FINAL} AND o.cancel_asked_at IS NULL) AND bool_or({_IS_ENDED})
                        FROM {SCHEMA}.orders o
                        WHERE o.account = :account AND o.side = :side
                          AND o.intent_id = (SELECT client_order_id FROM taken)), false)
                        AND NOT EXISTS (
                            SELECT FROM {SCHEMA}.v_splits s WHERE s.account = :account AND s.symbol = :symbol
                              AND s.booked_at > (SELECT sent_at FROM taken)) AS ended_of_itself
                FROM refused""",
            signal=signal_id,
            symbol=symbol,
            side=side.value,
            has_filled=has_filled,
            entry=None if entry is None else entry.client_order_id,
            sent_at=None if entry is None else entry.sent_at,
            order_id=None if entry is None else entry.broker_order_id,
        )
        assert row is not None
        past = Past(int(row.refused), row.refused_at, row.changed_since, row.ended_of_itself)
        return Made(past, int(row.number), row.has_known_legs)
