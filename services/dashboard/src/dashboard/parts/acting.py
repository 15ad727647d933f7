"""What a person can have done from any page: halt, reduce, resume, get out of everything."""

from __future__ import annotations

from dashboard.parts.dialogs import REASON, Asked, ask
from dashboard.parts.visit import Visit
from shared.domain.errors import Rejected

_RESUMED = {"All orders": "ACTIVE", "Exits": "REDUCING"}


def halt(visit: Visit) -> None:
    """Let nothing leave any more."""

    async def do(given: dict[str, str]) -> str:
        await visit.act("risk_manager", "/risk/halt", given)
        return "Trading is halted."

    ask(
        "Halt trading?",
        "No order leaves any more, exits included. Orders that protect positions stay at the broker.",
        [REASON],
        do,
        yes="Halt trading",
        is_danger=True,
    )


def reduce(visit: Visit) -> None:
    """Let only exits leave."""

    async def do(given: dict[str, str]) -> str:
        await visit.act("risk_manager", "/risk/reduce", given)
        return "Only exits leave now."

    ask(
        "Let only exits leave?",
        "Entries that wait or are open are withdrawn; positions can still be closed.",
        [REASON],
        do,
        yes="Reduce only",
        is_danger=True,
    )


def resume(visit: Visit) -> None:
    """Let all orders leave again, or exits alone."""

    async def do(given: dict[str, str]) -> str:
        mode = await visit.rooms.reads.mode()
        if mode is None:
            raise Rejected("no mode is stored yet; is the risk manager running?")
        which = given.pop("which")
        wanted = {"mode": _RESUMED[which], "version": mode["version"]}
        await visit.act("risk_manager", "/risk/resume", {**given, **wanted})
        return f"{which} may leave again."

    ask(
        "Resume trading?",
        "Orders may leave again: all of them, entries included, or exits alone.",
        [Asked("which", "What may leave", choices=tuple(_RESUMED)), REASON],
        do,
        yes="Resume trading",
    )


def flatten(visit: Visit) -> None:
    """Get out of everything."""

    async def do(given: dict[str, str]) -> str:
        said = await visit.act("risk_manager", "/risk/flatten", given, once=True)
        exits = len(said.get("items", []))
        return f"{exits} exit{'' if exits == 1 else 's'} decided."

    ask(
        "Close every position?",
        "An exit is decided for everything held or on order, at the market.",
        [REASON],
        do,
        yes="Close everything",
        is_danger=True,
    )


def close(visit: Visit, symbol: str, quantity: str, *, is_long: bool) -> None:
    """Get out of one position."""

    async def do(_: dict[str, str]) -> str:
        await visit.act("trade_executor", f"/positions/{symbol}/close", {}, once=True)
        return f"An order to close {symbol} is on its way."

    ask(
        f"Close {symbol}?",
        f"{'Sells' if is_long else 'Buys back'} {quantity} shares at the market, through risk like any order. "
        "What protects the position is cancelled first.",
        [],
        do,
        yes=f"Close {symbol}",
        is_danger=True,
    )


def cancel(visit: Visit, order_id: str, what: str) -> None:
    """Take one order back."""

    async def do(_: dict[str, str]) -> str:
        said = await visit.act("trade_executor", f"/orders/{order_id}", method="DELETE")
        return f"{what}: {str(said.get('state', 'being cancelled')).lower()}."

    ask("Cancel this order?", what, [], do, yes="Cancel the order", is_danger=True)


def cancel_all(visit: Visit) -> None:
    """Take all entries and exits back."""

    async def do(_: dict[str, str]) -> str:
        await visit.act("trade_executor", "/orders", method="DELETE")
        return "All open orders are being cancelled."

    ask(
        "Cancel all open orders?",
        "Entries and exits that stand or wait are taken back; stops and targets stay.",
        [],
        do,
        yes="Cancel all",
        is_danger=True,
    )
