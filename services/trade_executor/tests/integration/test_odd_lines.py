"""Lines of the stream as nobody would send them, and the log of all lines as the ledger's second source.

After each the broker is asked, and only what it confirms is in the ledger.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import orjson
import pytest

from services.trade_executor.tests.integration.recordkeeping import AAPL, Desk, Play, play
from shared.domain.ledger import Fill, fold_cash, fold_positions
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from trade_executor.lifecycle import OrderRecord, first_record, merged
from trade_executor.store.tables import ORDER_COLUMNS
from trade_executor.wire import decode_frame, read_update

__all__ = ["play"]

Lines = list[dict[str, Any]]


def changed(line: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """`line` with other fields; `order_` before a name means the order's."""
    made = copy.deepcopy(line)
    for name, value in fields.items():
        inside = name.startswith("order_")
        target = made["data"]["order"] if inside else made["data"]
        target[name.removeprefix("order_") if inside else name] = value
    return made


def last(**fields: Any) -> Callable[[Lines], Lines]:
    return lambda lines: [*lines[:-1], changed(lines[-1], **fields)]


ODD: dict[str, Callable[[Lines], Lines]] = {
    "an unknown status": lambda ls: [changed(ls[0], order_status="teleported"), *ls[1:]],
    "an unknown event": lambda ls: [changed(ls[0], event="haunted"), *ls[1:]],
    "backwards": lambda ls: ls[::-1],
    "shares below zero": last(qty="-10"),
    "no shares": last(qty="0"),
    "a price below zero": last(price="-1"),
    "no number": last(qty="NaN"),
    "more than was ordered": last(qty="11", order_filled_qty="11"),
    "more than exists": last(qty="1000000000000"),
    "one execution twice with other figures": lambda ls: [
        *ls, changed(ls[-1], qty="4", price="90")
    ],
    "a fill after the cancel": lambda ls: [
        *ls[:-1],
        changed(ls[-1], event="canceled", order_status="canceled", order_filled_qty="0"),
        ls[-1],
    ],
    "no execution id": last(execution_id=None),
    "another symbol": last(order_symbol="MSFT"),
    "another side": last(order_side="sell"),
    "of the far future": last(timestamp="2999-01-01T00:00:00Z"),
}  # fmt: skip
QUICK = {"a fill after the cancel", "more than was ordered"}


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.prove) for n in ODD]
)
def test_an_odd_line_invents_nothing_and_loses_nothing(play: Play, name: str) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig", stop_loss=None, take_profit=None)
        desk.floor.bar()
        lines = ODD[name]([orjson.loads(frame) for frame in desk.floor.frames()])
        await desk.booker.book_lines([orjson.dumps(line) for line in lines])
        report = await desk.compare()
        assert (report.positions_agree, report.cash_agrees) == (True, True)
        assert await desk.fills() == [("AAPL", "buy", Decimal(10))]
        assert await desk.states() == [("entry", "FILLED", Decimal(10))]
        assert await desk.differences() == []

    play(scenario)


def test_an_execution_told_wrongly_at_first_shows_as_a_difference_and_is_never_rewritten(
    play: Play,
) -> None:
    async def scenario(desk: Desk) -> None:
        await desk.sent("sig", stop_loss=None, take_profit=None)
        desk.floor.bar()
        lines = [orjson.loads(frame) for frame in desk.floor.frames()]
        wrong = changed(lines[-1], qty="4", event="partial_fill", order_filled_qty="4")
        await desk.booker.book_lines([orjson.dumps(line) for line in (*lines[:-1], wrong)])
        assert not (await desk.compare()).positions_agree
        assert [(kind, ours, theirs) for kind, _, ours, theirs in await desk.differences()] == [
            ("POSITION", "4", "10"), ("CASH", "99600", "99000"),
        ]  # fmt: skip
        assert await desk.fills() == [("AAPL", "buy", Decimal(4))]

    play(scenario)


# ---------------------------------------------------------------------- the log, replayed


def as_bytes(rows: Sequence[Sequence[Any]]) -> bytes:
    return orjson.dumps(sorted(tuple(map(str, row)) for row in rows))


def test_the_log_of_lines_replayed_gives_the_same_orders_fills_positions_and_cash(
    play: Play,
) -> None:
    columns = (
        "broker_order_id", "client_order_id", "symbol", "side", "type", "order_class", "status",
        "quantity", "filled_quantity", "limit_price", "stop_price", "updated_at",
    )  # fmt: skip

    async def scenario(desk: Desk) -> None:
        await desk.sent("sig-1")
        desk.floor.bar(volume=40)
        await desk.booker.book_lines(desk.floor.frames())
        desk.floor.bar()
        desk.floor.bar(price=121)
        await desk.booker.book_lines(desk.floor.frames())

        async def read(connection: Any) -> tuple[Any, Any, Any, Any]:
            ask = desk.store.ledger._all
            views = "trade_executor"
            return (
                await ask(
                    connection,
                    f"SELECT raw FROM {views}.order_events WHERE account = :account ORDER BY id",
                ),
                await ask(
                    connection,
                    f"SELECT {ORDER_COLUMNS} FROM {views}.orders WHERE account = :account",
                ),
                await ask(
                    connection,
                    f"SELECT symbol, quantity FROM {views}.v_positions WHERE account = :account",
                ),
                await ask(connection, f"SELECT cash FROM {views}.v_cash WHERE account = :account"),
            )

        log, orders, positions, [cash] = await desk.store.ledger._db.run(read)
        records: dict[str, OrderRecord] = {}
        fills: dict[str, Fill] = {}
        for row in log:
            update = read_update(decode_frame(row.raw))
            assert update is not None
            seen = update.order
            known = records.get(seen.broker_order_id)
            records[seen.broker_order_id] = (
                first_record(seen, parent_order_id=None, intent_id=None)
                if known is None
                else merged(known, seen)
            )
            done = update.execution
            if done is not None:
                fills[done.execution_id] = Fill(
                    done.execution_id, seen.client_order_id, Symbol(done.symbol), Side(done.side),
                    done.quantity, done.price,
                )  # fmt: skip

        assert len(fills) == 3
        again = [[getattr(record, name) for name in columns] for record in records.values()]
        assert as_bytes(again) == as_bytes([[getattr(o, name) for name in columns] for o in orders])
        held = [
            (symbol, position.quantity)
            for symbol, position in fold_positions(fills.values()).items()
            if position.quantity
        ]
        assert as_bytes(held) == as_bytes([(p.symbol, p.quantity) for p in positions])
        assert fold_cash(Decimal(100_000), fills.values()) == cash.cash
        assert AAPL not in dict(held)

    play(scenario)
