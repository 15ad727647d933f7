"""What does each job do?

Thin: a job asks another service or reads the views, and returns the figures that are stored with its run. Each
is safe to do again, because a person may trigger it at any time.
"""

from __future__ import annotations

from datetime import date

from scheduler.ports import JobStore, Peers, Views
from scheduler.runs import Figures
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidTime, Unavailable
from shared.domain.money import plain
from shared.ports import Clock


class Actions:
    """The jobs' work; each takes the day of the session that it is for."""

    def __init__(
        self,
        peers: Peers,
        views: Views,
        store: JobStore,
        calendar: TradingCalendar,
        clock: Clock,
    ) -> None:
        self._peers = peers
        self._views = views
        self._store = store
        self._calendar = calendar
        self._clock = clock

    async def service_health(self, _on: date) -> Figures:
        """Ask the four other services how they are."""
        found = await self._peers.health()
        await self._store.record_health(found, self._clock.now())
        return {health.service: health.state for health in found}

    async def reconcile(self, _on: date) -> Figures:
        """Compare books with the broker before the day begins."""
        return await self._peers.reconcile()

    async def market_data_catch_up(self, _on: date) -> Figures:
        """Fetch what is missing of the history before the day begins."""
        return await self._peers.catch_up()

    async def daily_performance(self, on: date) -> Figures:
        """Have the executor keep how the trades closed on `on` went."""
        return await self._peers.performance(on)

    async def cross_check(self, _on: date) -> Figures:
        """Compare what two providers say of the last sessions."""
        return await self._peers.maintain("cross-check")

    async def compact_history(self, _on: date) -> Figures:
        """Merge the small files of the day while nobody waits for them."""
        return await self._peers.maintain("compact")

    async def portfolio_snapshot(self, on: date) -> Figures:
        """What the account holds after the close of `on`."""
        held = await self._views.portfolio()
        if held is None:
            raise Unavailable("the trade executor has not adopted an account yet; is it running?")
        return {
            "session_on": on.isoformat(),
            "cash": plain(held.cash),
            "equity": None if held.equity is None else plain(held.equity),
            "peak_equity": None if held.peak_equity is None else plain(held.peak_equity),
            "drawdown": held.drawdown,
            "gross_exposure": None if held.gross_exposure is None else plain(held.gross_exposure),
            "marked_at": None if held.marked_at is None else held.marked_at.isoformat(),
            "mode": held.mode,
            "positions": {symbol: plain(shares) for symbol, shares in held.positions.items()},
        }

    async def end_of_day_report(self, on: date) -> Figures:
        """What happened on the exchange day `on`."""
        session = self._calendar.session_on(on)
        if session is None:
            raise InvalidTime(f"{on} has no session, so there is nothing to report")
        day = await self._views.day(session)
        pnl = None
        if day.equity_before is not None and day.equity_after is not None:
            pnl = plain(day.equity_after - day.equity_before)
        return {
            "session_on": on.isoformat(),
            "signals": day.signals,
            "approved": day.approved,
            "refused": day.refused,
            "refused_by_code": day.refused_by_code,
            "orders": day.orders,
            "fills": day.fills,
            "fees": plain(day.fees),
            "equity": None if day.equity_after is None else plain(day.equity_after),
            "pnl": pnl,
        }
