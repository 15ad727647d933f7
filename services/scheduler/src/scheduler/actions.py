"""What does each job do?

Thin: a job asks another service or reads the views, and returns the figures that are stored with its run. Each
is safe to do again, because a person may trigger it at any time.
"""

from __future__ import annotations

import contextlib
from datetime import UTC, date, datetime

from scheduler.pipeline import behind, late_bars, late_screen, words_of_screen
from scheduler.ports import JobStore, Machine, Peers, PipelineReads, Upkeep, Views
from scheduler.runs import Budget, Figures
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidTime, Rejected, Retryable, Unavailable
from shared.domain.money import plain
from shared.domain.timeframes import Timeframe
from shared.ports import Clock


class Actions:
    """The jobs' work; each takes the day of the session that it is for."""

    def __init__(
        self,
        peers: Peers,
        machine: Machine,
        views: Views,
        pipeline: PipelineReads,
        upkeep: Upkeep,
        store: JobStore,
        calendar: TradingCalendar,
        clock: Clock,
        timeframe: Timeframe,
        *,
        is_replay: bool,
    ) -> None:
        self._peers = peers
        self._machine = machine
        self._views = views
        self._pipeline = pipeline
        self._upkeep = upkeep
        self._store = store
        self._calendar = calendar
        self._clock = clock
        self._timeframe = timeframe
        self._is_replay = is_replay
        self._asked_for_bars: datetime | None = None
        # As last seen; what a provider lets us ask is nobody's history.
        self.budgets: list[Budget] = []

    async def service_health(self, _on: date) -> Figures:
        """Ask the other services and the servers how they are, and what providers let us ask."""
        found = [*await self._peers.health(), *await self._machine.health()]
        await self._store.record_health(found, self._clock.now())
        with contextlib.suppress(Retryable, Rejected):
            # A collector that does not answer stands in the health just stored.
            self.budgets = await self._peers.budgets()
        return {health.service: health.state for health in found}

    async def screens(self, _on: date) -> Figures:
        """Say how the newest screen went, and complain of screens that stay away."""
        state = await self._pipeline.state()
        _complain(late_screen(state, self._calendar, self._clock.now()))
        return words_of_screen(state.screening)

    async def price_updates(self, _on: date) -> Figures:
        """Complain of bars that stay away, and ask for them once wherever they stopped."""
        state = await self._pipeline.state()
        late = late_bars(state, self._calendar, self._timeframe, self._clock.now())
        stopped_at = state.newest_end_at or datetime.min.replace(tzinfo=UTC)
        # A replay's bars come when its conductor lets them; asking would fetch what it has not shown yet.
        if late is not None and not self._is_replay and self._asked_for_bars != stopped_at:
            self._asked_for_bars = stopped_at
            await self._peers.ask_for_bars()
            late += "; the data collector was asked to catch up"
        _complain(late)
        return {}

    async def strategy_evaluation(self, _on: date) -> Figures:
        """Complain of batches that wait for the strategies."""
        _complain(behind(await self._pipeline.state(), "strategy_engine", self._clock.now()))
        return {}

    async def risk_checks(self, _on: date) -> Figures:
        """Complain of evaluations that wait for a review, and of a risk manager that cannot say its limits."""
        limits = await self._peers.limits()
        _complain(behind(await self._pipeline.state(), "risk_manager", self._clock.now()))
        return {row["code"]: row["usage"] for row in limits}

    async def portfolio_sync(self, _on: date) -> Figures:
        """Have books and broker compared, and complain of reviews that wait to be carried out."""
        figures = await self._peers.reconcile()
        _complain(behind(await self._pipeline.state(), "trade_executor", self._clock.now()))
        return figures

    async def check_hours(self, _on: date) -> Figures:
        """Compare calendar and clock with the broker's, before and while entries may leave."""
        if self._is_replay:
            return {"compared": "nothing: the time of a replay is the venue's own"}
        return await self._peers.check_hours()

    async def bar_retention(self, _on: date) -> Figures:
        """Remove bars past the retention."""
        return await self._peers.maintain("retention")

    async def log_retention(self, _on: date) -> Figures:
        """Remove logs past the retention."""
        return await self._upkeep.forget_logs()

    async def backup(self, _on: date) -> Figures:
        """Keep the database in a new backup."""
        if self._is_replay:
            # Its days pass in seconds, and each would push a real backup out.
            return {"kept": "nothing: a replay is not backed up"}
        return await self._upkeep.back_up()

    async def vacuum(self, _on: date) -> Figures:
        """Keep tables small and their statistics true."""
        return await self._upkeep.vacuum()

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
            pnl = plain(day.equity_after - day.equity_before - day.paid_in)
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
            "paid_in": plain(day.paid_in),
            "pnl": pnl,
        }


def _complain(sentence: str | None) -> None:
    """Let the job fail with `sentence`, so that it stands in its outcome."""
    if sentence is not None:
        raise Rejected(sentence)
