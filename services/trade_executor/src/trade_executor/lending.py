"""What may be sold short here, in the broker's words?

The broker says whether the account may sell short and which shares it lends easily. Both are written down for the risk
manager, which refuses what it does not know; before a short sale leaves, the share is asked about again (`market`). Looked
up before an account is opened, when a term begins and once on every day of the exchange, and only where the settings
allow short positions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Protocol

import structlog

from shared.domain.calendar import NEW_YORK
from shared.domain.errors import Retryable
from shared.domain.money import plain
from shared.domain.symbols import Symbol
from shared.ports import BrokerAccount, Clock, Timer
from trade_executor.market import Asset, problem_with_dealing, problem_with_short
from trade_executor.store import Store
from trade_executor.store.lending import Lent

_log = structlog.get_logger(__name__)
# Below this an account has no margin, and a short sale is one on margin.
# Source: https://docs.alpaca.markets/us/docs/account-plans
LEAST_EQUITY = Decimal(2000)
_CASH_ACCOUNT = "1"
# The list is long, and asking for it takes from the budget of orders.
RETRY_S = 10.0


class Lender(Protocol):
    """Who says so. All raise Unavailable or RateLimited when there was no answer."""

    async def account(self) -> BrokerAccount:
        """The account in the broker's words."""
        ...

    async def configurations(self) -> Mapping[str, Any]:
        """What its owner has set for the account, in the broker's words."""
        ...

    async def assets(self) -> list[Asset]:
        """Every share that is dealt in."""
        ...


def why_no_short(account: BrokerAccount, configurations: Mapping[str, Any]) -> str | None:
    """Why the account may not sell short, as one clause; None when it may. What the broker leaves out is a no."""
    if account.raw.get("shorting_enabled") is not True:
        return "the broker does not say that short sales are enabled (shorting_enabled)"
    if configurations.get("no_shorting") is not False:
        return "its configuration does not say that short sales are wanted (no_shorting)"
    if account.raw.get("multiplier") in (None, _CASH_ACCOUNT):
        return "it has no margin (multiplier), and a short sale needs some"
    if account.equity < LEAST_EQUITY:
        return f"its equity is {plain(account.equity)}, and margin begins at {plain(LEAST_EQUITY)} dollars"
    return None


def lent(assets: Iterable[Asset]) -> dict[Symbol, bool]:
    """Which of the shares may be sold short, by the flags that a short sale is held against when it is sent."""
    return {
        asset.symbol: problem_with_dealing(asset) is None and problem_with_short(asset) is None
        for asset in assets
    }


class LendingDesk:
    """Keeps what may be sold short for one term."""

    def __init__(self, store: Store, lender: Lender | None, clock: Clock, timer: Timer) -> None:
        """`lender`: None where the settings allow no short positions."""
        self._store = store
        self._lender = lender
        self._clock = clock
        self._timer = timer
        # The day of the exchange that the newest word is of.
        self._seen_on: date | None = None
        self._has_begun = False
        self._not_before_s = 0.0

    async def begin(self) -> None:
        """Make the first look work that has to be done, or forget what a term with other settings wrote down."""
        if self._has_begun:
            return
        if self._lender is None:
            await self._store.lending.forget()
        else:
            await self._store.lending.expect()
        self._has_begun = True

    async def first_word(self) -> Lent | None:
        """What an account is opened with, or the first bar would find nobody to say what is lent.

        None where nobody asks or there is no answer: an account is opened without it, and looking is work then.
        """
        if self._lender is None:
            return None
        try:
            return await self._ask(self._lender)
        except Retryable as error:
            self._put_off(error)
            return None

    async def work(self) -> bool:
        """Look, once a day; where nobody answers, again after a while. There is never more to do at once."""
        lender = self._lender
        if lender is None or self._seen_on == self._today():
            return False
        if self._timer.monotonic_s() < self._not_before_s:
            return False
        try:
            word = await self._ask(lender)
            await self._store.lending.record(word)
            self._seen_on = word.at.astimezone(NEW_YORK).date()
        except Retryable as error:
            # What was written down before grows old meanwhile, and is not believed then.
            self._put_off(error)
        return False

    def _put_off(self, error: Retryable) -> None:
        _log.warning("nobody says what may be sold short", reason=str(error))
        self._not_before_s = self._timer.monotonic_s() + RETRY_S

    def _today(self) -> date:
        return self._clock.now().astimezone(NEW_YORK).date()

    async def _ask(self, lender: Lender) -> Lent:
        at = self._clock.now()
        problem = why_no_short(await lender.account(), await lender.configurations())
        if problem is not None:
            _log.warning("the account may not sell short", reason=problem)
        shares = lent(await lender.assets())
        _log.info("shares are lent", symbols=sum(shares.values()), of=len(shares))
        return Lent(may_short=problem is None, shares=shares, at=at)
