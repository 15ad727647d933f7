"""May a guard be put back that was held back, and who is told that shares are unguarded?

Asked at the end of each comparison with the broker, when positions and corporate actions were just looked at. What the
broker ended of itself comes back in a session alone, where stops work, and at a fresh price near to which it would not
sell at once as if the shares were still the old ones. What it refuses comes back earlier than its pause when the price had
passed the stop and has come back.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import structlog

from shared.domain.calendar import TradingCalendar
from shared.domain.errors import Retryable
from shared.domain.money import plain
from shared.domain.symbols import Symbol
from shared.ports import Clock
from trade_executor.guarding import ZERO, Bracket, Cover, Standing, standing
from trade_executor.market import Market, Quote
from trade_executor.store import Store
from trade_executor.store.protection import UNGUARDED

_log = structlog.get_logger(__name__)


class Watch:
    """Looks after shares that no stop guards, for one term."""

    def __init__(
        self,
        store: Store,
        market: Market,
        calendar: TradingCalendar,
        clock: Clock,
        *,
        max_quote_age_s: float,
    ) -> None:
        self._store = store
        self._market = market
        self._calendar = calendar
        self._clock = clock
        self._max_quote_age_s = max_quote_age_s
        # Signals whose refused stop or target the price had passed when it was last looked at.
        self._passed: set[str] = set()

    async def look(self, *, has_compared: bool, is_halted: bool) -> None:
        """Plan what guards bare shares, and open or close what is told of them.

        Args:
            has_compared: whether positions and corporate actions are known as of now.
            is_halted: whether nothing leaves, whatever the mode.
        """
        at = self._clock.now()
        bare = await self._store.protection.bare(at=at, is_halted=is_halted)
        told = {
            Symbol(str(one["symbol"]))
            for one in await self._store.differences.all_open()
            if one["kind"] == UNGUARDED
        }
        if not told and not any(bare.values()):
            self._passed.clear()
            return
        held_back = [
            bracket
            for brackets in bare.values()
            for bracket, _ in brackets
            if bracket.held_back is not None
        ]
        reasons: dict[str, str] = {}
        released: set[str] = set()
        if held_back and has_compared:
            reasons, released = await self._judge(held_back)
        self._passed &= {bracket.signal_id for bracket in held_back}
        await self._store.protection.cover_bare_positions(at=at, released=released)
        await self._tell(told, reasons, is_halted=is_halted)

    async def _judge(self, brackets: Sequence[Bracket]) -> tuple[dict[str, str], set[str]]:
        """Why each of `brackets` stays without its guard, by its signal, and the signals of those that get it back."""
        symbols = sorted({b.cover.symbol for b in brackets if b.cover is not None})
        quotes = await self._quotes(symbols)
        reasons: dict[str, str] = {}
        released: set[str] = set()
        for bracket in brackets:
            cover, why = bracket.cover, bracket.held_back
            if cover is None or why is None:
                continue
            quote = quotes.get(cover.symbol)
            if quote is None:
                reasons[bracket.signal_id] = f"{why.why}; it waits for a session and a fresh quote"
                continue
            stands = _standing(cover, quote)
            if why.is_paused:
                has_come_back = stands is Standing.BETWEEN and bracket.signal_id in self._passed
                if has_come_back:
                    self._passed.discard(bracket.signal_id)
                    released.add(bracket.signal_id)
                elif stands is not Standing.BETWEEN:
                    self._passed.add(bracket.signal_id)
                reasons[bracket.signal_id] = why.why
            elif stands is Standing.FAR:
                reasons[bracket.signal_id] = (
                    f"{why.why}, and the price of {plain(quote.bid)} is far past its stop of {plain(cover.stop)} "
                    "or its target, as after a split; if there is none, leave the position or guard it by hand"
                )
            else:
                released.add(bracket.signal_id)
        return reasons, released

    async def _quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        """Fresh quotes that can be believed; none while the exchange is closed."""
        if self._calendar.session_at(self._clock.now()) is None:
            return {}
        try:
            found = await self._market.quotes(symbols)
        except Retryable as error:
            _log.warning("no quotes for guards", symbols=len(symbols), reason=str(error))
            return {}
        now = self._clock.now()
        return {
            symbol: quote
            for symbol, quote in found.items()
            if (now - quote.quoted_at).total_seconds() <= self._max_quote_age_s
            and quote.bid <= quote.ask
        }

    async def _tell(
        self, told: Collection[Symbol], reasons: Mapping[str, str], *, is_halted: bool
    ) -> None:
        """Open a difference for each symbol with bare shares, and close those of shares that are guarded or gone.

        Args:
            told: the symbols that one is open for.
        """
        at = self._clock.now()
        bare = await self._store.protection.bare(at=at, is_halted=is_halted)
        held = (await self._store.ledger.holdings())[0]
        for symbol in sorted({*told} | {symbol for symbol, brackets in bare.items() if brackets}):
            if symbol in held and symbol not in bare:
                continue  # something is on its way
            brackets = bare.get(symbol, [])
            shares = sum((shares for _, shares in brackets), ZERO)
            why = next((_why(bracket, reasons) for bracket, _ in brackets), "")
            if symbol not in told:
                _log.error("shares are unguarded", symbol=symbol, shares=plain(shares), reason=why)
            elif not brackets:
                _log.warning("shares are guarded again, or gone", symbol=symbol)
            await self._store.differences.settle(
                UNGUARDED, symbol, symbol, ours=f"a stop for {plain(shares)} shares",
                theirs=f"none: {why}", differs=bool(brackets), since=at, at=at,
            )  # fmt: skip


def _why(bracket: Bracket, reasons: Mapping[str, str]) -> str:
    if bracket.signal_id in reasons:
        return reasons[bracket.signal_id]
    if bracket.held_back is not None:
        return bracket.held_back.why
    return "nothing leaves while trading is halted; guard them at the broker, or resume"


def _standing(cover: Cover, quote: Quote) -> Standing:
    """The worse of both sides: a price between a bid and an ask that lie far apart is no price."""
    order = [Standing.BETWEEN, Standing.REACHED, Standing.FAR]
    return max((standing(cover, price) for price in (quote.bid, quote.ask)), key=order.index)
