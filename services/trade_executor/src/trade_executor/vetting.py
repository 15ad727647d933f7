"""Who asks share and market before an entry leaves, and for how long when there is no answer?

`market` decides. One request brings the quotes of all entries that are due together. While nobody answers an entry
waits a few seconds, then it is withdrawn: what was decided on prices of a moment ago is not sent blind. A host that
hangs, the broker's or that of the quotes, is waited for once in a round, since exits wait behind the same sender.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import structlog

from shared.domain.errors import Retryable
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.ports import Clock, Timer
from trade_executor.lifecycle import Intent, IntentPurpose
from trade_executor.market import (
    Asset,
    Bounds,
    Market,
    Quote,
    meets_the_market,
    problem_with_asset,
    problem_with_quote,
)
from trade_executor.preflight import Problem

_log = structlog.get_logger(__name__)
PATIENCE_S = 5.0
# A request that failed after so long has met a host that hangs; a refusal comes sooner.
HANGS_AFTER_S = 1.0
_Heard = TypeVar("_Heard")


class Vetting:
    """Looks at share and market for one term's sender."""

    def __init__(self, market: Market, clock: Clock, timer: Timer, bounds: Bounds) -> None:
        self._market = market
        self._clock = clock
        self._timer = timer
        self._bounds = bounds
        self._quotes: dict[Symbol, Quote] = {}
        # What was heard in this round of a host that hung, by what it was asked for.
        self._hung: dict[str, Retryable] = {}
        # Since when an entry waits for an answer, in seconds of the timer, by its client id.
        self._waiting_s: dict[str, float] = {}

    async def look(self, due: Sequence[Intent]) -> None:
        """Fetch the quotes that the entries among `due` need, in one request."""
        self._quotes, self._hung = {}, {}
        names = {intent.client_order_id for intent in due}
        self._waiting_s = {n: s for n, s in self._waiting_s.items() if n in names}
        symbols = sorted({i.symbol for i in due if _is_vetted(i) and meets_the_market(i.request())})
        if symbols:
            try:
                self._quotes = await self._fetch_quotes(symbols)
            except Retryable as error:
                _log.warning("no quotes", symbols=len(symbols), reason=str(error))

    async def problem_with(self, intent: Intent) -> Problem | None:
        """Why `intent` should not leave; None when it may, and for everything that is no new entry.

        Raises:
            Retryable: nobody answered, and it is too early to give up.
        """
        if not _is_vetted(intent):
            return None
        try:
            problem = await self._ask(intent)
        except Retryable as error:
            since_s = self._waiting_s.setdefault(intent.client_order_id, self._timer.monotonic_s())
            if self._timer.monotonic_s() - since_s < PATIENCE_S:
                raise
            problem = Problem(
                "no_quote", f"no answer about {intent.symbol} for {PATIENCE_S:.0f} s ({error})",
                "look at ALPACA_DATA_URL and its keys, or ask for type limit",
            )  # fmt: skip
        self._waiting_s.pop(intent.client_order_id, None)
        return problem

    async def _ask(self, intent: Intent) -> Problem | None:
        order = intent.request()
        asset = await self._fetch_asset(intent.symbol)
        problem = problem_with_asset(order, asset, opens_short=intent.side is Side.SELL)
        if problem is not None or not meets_the_market(order):
            return problem
        quote = self._quotes.get(intent.symbol)
        now = self._clock.now()
        if quote is None or (now - quote.quoted_at).total_seconds() > self._bounds.max_quote_age_s:
            # The round has taken long, or that one request failed: this one alone decides.
            quote = (await self._fetch_quotes([intent.symbol])).get(intent.symbol)
        return problem_with_quote(
            order, quote, intent.reference_price, self._clock.now(), self._bounds
        )

    async def _fetch_asset(self, symbol: Symbol) -> Asset | None:
        return await self._unless_it_hangs("asset", lambda: self._market.asset(symbol))

    async def _fetch_quotes(self, symbols: list[Symbol]) -> dict[Symbol, Quote]:
        return await self._unless_it_hangs("quotes", lambda: self._market.quotes(symbols))

    async def _unless_it_hangs(self, what: str, request: Callable[[], Awaitable[_Heard]]) -> _Heard:
        """The answer to `request`; after its host has hung once in this round it is not asked again."""
        if what in self._hung:
            raise self._hung[what]
        began_s = self._timer.monotonic_s()
        try:
            return await request()
        except Retryable as error:
            if self._timer.monotonic_s() - began_s >= HANGS_AFTER_S:
                self._hung[what] = error
            raise


def _is_vetted(intent: Intent) -> bool:
    # A replacement names its own prices, and stands for an order that was vetted.
    return intent.purpose is IntentPurpose.ENTRY and intent.replaces is None
