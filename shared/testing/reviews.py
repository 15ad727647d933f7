"""A review as the risk manager commits it: the message, and a row for every approval and every stop that moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import orjson
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.adapters.postgres import Outbox
from shared.domain.decisions import Approved, Check, Review
from shared.domain.money import plain
from shared.messages import REVIEW, REVIEWS

_DECISION = text("""
INSERT INTO risk_manager.decisions (
    account, decision_id, signal_id, source, review_id, instant_at, decided_at, outcome, strategy, symbol, side, purpose,
    quantity, type, time_in_force, limit_price, stop_price, stop_loss, take_profit, reference_price, act_from,
    act_until, trade_on, checks, figures)
VALUES (
    :account, :decision_id, :signal_id, :source, :review_id, :at, :at, 'approved', 'test', :symbol, :side, :purpose,
    :quantity, :type, :time_in_force, :limit_price, :stop_price, :stop_loss, :take_profit, :reference_price, :act_from,
    :act_until, :trade_on, CAST(:checks AS jsonb), CAST(:figures AS jsonb))
ON CONFLICT DO NOTHING
""")

_STOP_MOVE = text("""
INSERT INTO risk_manager.stop_moves (
    account, review_id, decision_id, symbol, side, stop_loss, previous, reason, decided_at)
SELECT account, :review_id, decision_id, symbol, side, :stop_loss, :previous, :reason, :at
FROM risk_manager.decisions WHERE account = :account AND decision_id = :decision_id
""")

# What an entry's approval says of how far from the last price it may be.
COLLAR = Check("PRICE_COLLAR", True, 0.2, 0.0, "of the last price", "at most 20.00%")


async def announce_review(
    connection: AsyncConnection,
    review: Review,
    at: datetime,
    limits_versions: Mapping[str, int] | None = None,
    *,
    stores_decisions: bool = True,
) -> None:
    """Store `review`; `limits_versions` says by signal under which version of the limits it was approved (else 0).

    `stores_decisions`: False for a message that the risk manager never wrote.
    """
    review_id = await Outbox("risk_manager", review.account).append(
        connection, topic=REVIEWS, key=review.source, payload=REVIEW.encode(review), at=at
    )
    for approved in review.approved if stores_decisions else ():
        await connection.execute(
            _DECISION,
            {
                "account": approved.account,
                "decision_id": approved.decision_id,
                "signal_id": approved.signal_id,
                "source": review.source,
                "review_id": review_id,
                "at": at,
                "symbol": approved.symbol,
                "side": approved.side.value,
                "purpose": approved.purpose.value,
                "quantity": approved.quantity,
                "type": approved.type.value,
                "time_in_force": approved.time_in_force.value,
                "limit_price": approved.limit_price,
                "stop_price": approved.stop_price,
                "stop_loss": approved.stop_loss,
                "take_profit": approved.take_profit,
                "reference_price": approved.reference_price,
                "act_from": approved.act_from,
                "act_until": approved.act_until,
                "trade_on": approved.act_from.date(),
                "checks": orjson.dumps([asdict(check) for check in approved.checks]).decode(),
                "figures": orjson.dumps(
                    {
                        "limits_version": str((limits_versions or {}).get(approved.signal_id, 0)),
                        **_sum_of(approved),
                    }
                ).decode(),
            },
        )
    for move in review.moved if stores_decisions else ():
        await connection.execute(
            _STOP_MOVE,
            {
                "account": review.account,
                "review_id": review_id,
                "decision_id": move.decision_id,
                "stop_loss": move.stop_loss,
                "previous": move.previous,
                "reason": move.reason,
                "at": at,
            },
        )


def _sum_of(approved: Approved) -> dict[str, str]:
    money = approved.terms.notional
    return {} if money is None else {"notional": plain(money)}
