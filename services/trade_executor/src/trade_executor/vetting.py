"""Who asks share and market before an entry leaves, and for how long when there is no answer?

`market` decides. One request brings the quotes of all entries that are due together. While nobody answers an entry
waits a few seconds, then it is withdrawn: what was decided on prices of a moment ago is not sent blind.
"""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from shared.domain.errors import Retryable
from shared.domain.orders import Side
from shared.domain.symbols import Symbol
from shared.ports import Clock, Timer
from trade_executor.lifecycle import Intent, IntentPurpose
from trade_executor.market import (
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


class Vetting:
    """Looks at share and market for one term's sender."""

    def __init__(self, market: Market, clock: Clock, timer: Timer, bounds: Bounds) -> None:
        self._market = market
        self._clock = clock
        self._timer = timer
        self._bounds = bounds
        self._quotes: dict[Symbol, Quote] = {}
        # Since when a symbol's entries wait for an answer, in seconds of the timer.
        self._waiting_s: dict[Symbol, float] = {}

    async def look(self, due: Sequence[Intent]) -> None:
        """Fetch the quotes that the entries among `due` need, in one request."""
        self._quotes = {}
        symbols = sorted({i.symbol for i in due if _is_vetted(i) and meets_the_market(i.request())})
        if symbols:
            try:
                self._quotes = await self._market.quotes(symbols)
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
            since_s = self._waiting_s.setdefault(intent.symbol, self._timer.monotonic_s())
            if self._timer.monotonic_s() - since_s < PATIENCE_S:
                raise
            problem = Problem(
                "no_quote", f"no answer about {intent.symbol} for {PATIENCE_S:.0f} s ({error})",
                "look at ALPACA_DATA_URL and its keys, or ask for type limit",
            )  # fmt: skip
        self._waiting_s.pop(intent.symbol, None)
        return problem

    async def _ask(self, intent: Intent) -> Problem | None:
        order = intent.request()
        asset = await self._market.asset(intent.symbol)
        problem = problem_with_asset(order, asset, opens_short=intent.side is Side.SELL)
        if problem is not None or not meets_the_market(order):
            return problem
        quote = self._quotes.get(intent.symbol)
        now = self._clock.now()
        if quote is None or (now - quote.quoted_at).total_seconds() > self._bounds.max_quote_age_s:
            # The round has taken long, or that one request failed: this one alone decides.
            quote = (await self._market.quotes([intent.symbol])).get(intent.symbol)
        return problem_with_quote(
            order, quote, intent.reference_price, self._clock.now(), self._bounds
        )


def _is_vetted(intent: Intent) -> bool:
    # A replacement names its own prices, and stands for an order that was vetted.
    return intent.purpose is IntentPurpose.ENTRY and intent.replaces is None
