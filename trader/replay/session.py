"""How is a whole replay run, from an empty machine to a summary?

Servers and simulator come first; what is replayed then decides the symbols and the timeframe that the services
are started with. They are told the simulator's addresses in place of the real venue's, and nothing else is
different: keys, tokens, database and Redis are as in live trading.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

import httpx

from shared.adapters.clocks import MonotonicTimer, RandomIds
from shared.adapters.exchange_calendar import load_calendar
from shared.adapters.postgres import open_database
from shared.adapters.redis import RedisBells, RedisLatestBars, open_redis
from shared.config import Settings, load_settings
from shared.domain.calendar import TradingCalendar
from shared.domain.decisions import TradingMode
from shared.domain.errors import Retryable, Unavailable
from shared.domain.screens import screen_due_at
from shared.messages import BELL_CLOCK, BELL_EXECUTIONS, BELL_REVIEWS
from shared.ports import Bells, Ear, Ids, Timer
from trader.replay.conductor import Conductor
from trader.replay.rest import Phase, Step
from trader.replay.truth import Totals, Truth
from trader.replay.venue import SimulatedVenue, VenueState
from trader.runtime.instance import POSTGRES, REDIS, SERVICES, SIMULATOR, Instance
from trader.runtime.stack import READY_WITHIN_S, LocalStack, probe

SYNTHETIC = "SYNTHETIC"
# What of the person's settings a replay has its own default for: a screen that some of the generated market passes.
REPLAY_DEFAULTS = {"FINVIZ_SCREEN": "sh_price_o60"}
DEMO_ACCOUNT = "demo"


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What is to be replayed, and how."""

    bars: Path | None = None
    last: int | None = None
    speed: float | None = None
    symbols: str | None = None
    seed: int = 7
    cash: Decimal = Decimal(100_000)
    account: str | None = None
    # For developers: services start anew when their code changes.
    reload: bool = False

    @property
    def source(self) -> str:
        """Whose figures these are: `SYNTHETIC`, or the file as it was given."""
        return SYNTHETIC if self.bars is None else str(self.bars)

    def account_label(self, ids: Ids) -> str:
        """The label everything is stored under.

        Generated sessions continue one account; a file opens a new one each time, so that a second
        replay never collides with the first.
        """
        if self.account is not None:
            return self.account
        return DEMO_ACCOUNT if self.bars is None else f"replay-{ids.new()[:8]}"

    def simulator_arguments(self, account: str, clock_file: Path, books: Path) -> list[str]:
        """The simulator's command line, beside its port."""
        arguments = ["--account", account, "--cash", str(self.cash), "--seed", str(self.seed)]
        arguments += ["--clock-file", str(clock_file), "--state-dir", str(books)]
        # A replay in lock-step makes a day's requests in seconds; the limit is tested on its own.
        arguments += ["--rate-limit", "0"]
        if self.bars is not None:
            arguments += ["--bars", str(self.bars.resolve())]
        if self.last is not None:
            arguments += ["--last", str(self.last)]
        if self.symbols is not None:
            arguments += ["--symbols", self.symbols]
        # A free run is paced from here too, or the market would open before the services are up.
        return [*arguments, "--lock-step"]


@dataclass(frozen=True, slots=True)
class Summary:
    """What one run did, in numbers; counts are of this run, equity of the account."""

    source: str
    account: str
    bars: int
    signals: int
    approved: int
    refused: int
    orders: int
    fills: int
    unknown_orders: int
    equity: Decimal
    pnl: Decimal
    # A halt outlives the run: an account that goes on with its next session is still halted.
    mode: str
    instants: int
    first_instant_at: datetime | None
    last_instant_at: datetime | None
    seconds_to_first_fill: float | None
    seconds_total: float
    seconds_stepping: float


def replay_settings(
    instance: Instance, account: str, clock_file: Path, token: str
) -> dict[str, str]:
    """What every program of a replay is told beside the instance's own settings."""
    told = venue_settings(instance.url_of(SIMULATOR), account, str(clock_file))
    return {**told, "SIMULATOR_ADMIN_TOKEN": token}


def venue_settings(venue: str, account: str, clock_file: str) -> dict[str, str]:
    """What has the services trade under `account` at the simulated `venue`, and by its clock."""
    return {
        # The user's own keys stay out of a replay: these open the simulator and nothing else.
        "ALPACA_API_KEY": "SIMULATED",
        "ALPACA_SECRET_KEY": "simulated-secret",
        "ALPACA_DATA_API_KEY": "SIMULATED-DATA",
        "ALPACA_DATA_SECRET_KEY": "simulated-data-secret",
        "ALPACA_BASE_URL": venue,
        "ALPACA_DATA_URL": venue,
        "ALPACA_DATA_STREAM_URL": venue.replace("http://", "ws://") + "/v2/iex",
        "ALPACA_PAPER_TRADING": "true",
        "ALPACA_REQUESTS_PER_MINUTE": "10000",
        "FINVIZ_API_KEY": "SIMULATED-SCREENS",
        "FINVIZ_URL": venue,
        # Its bars are the venue's alone.
        "TWELVE_DATA_API_KEY": "",
        "TRADING_ACCOUNT": account,
        "CLOCK_FILE": clock_file,
        # What is only simulated must not ring anybody's phone.
        "GOTIFY_URL": venue,
        "GOTIFY_TOKEN": "simulated-application",
        "NOTIFY_URLS": "",
    }


class Replay:
    """One replay that is up: the stack runs, every service answers."""

    def __init__(
        self,
        *,
        plan: ReplayPlan,
        account: str,
        stack: LocalStack,
        venue: SimulatedVenue,
        truth: Truth,
        latest: RedisLatestBars,
        bells: Bells,
        calendar: TradingCalendar,
        timer: Timer,
        began_s: float,
        state: VenueState,
        before: Totals,
    ) -> None:
        self.plan = plan
        self.account = account
        self.stack = stack
        self.venue = venue
        self.truth = truth
        self.latest = latest
        self.state = state
        self._bells = bells
        self._calendar = calendar
        self._timer = timer
        self._began_s = began_s
        self._before = before
        self._equity_before = state.equity
        self._first_fill_s: float | None = None
        self._stepping_s = 0.0
        self.instants = 0
        self.first_instant_at: datetime | None = None
        self.last_instant_at: datetime | None = None

    async def run(
        self,
        until: Callable[[Step], bool] | None = None,
        after_step: Callable[[Step], None] = lambda _: None,
        on_wait: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Go on to the end: of the file, or of the generated session; or until `until` says so.

        Args:
            on_wait: told, again and again, what a step is waiting for.
        Raises:
            Stalled: a stage did not finish a step.
        """
        began_s = self._timer.monotonic_s()
        try:
            last = until or self._is_last
            if self.plan.speed is None:
                await self._run_in_lock_step(last, after_step, on_wait)
            else:
                await self._run_freely(self.plan.speed, last, after_step, on_wait)
        finally:
            self._stepping_s += self._timer.monotonic_s() - began_s

    async def _run_in_lock_step(
        self,
        until: Callable[[Step], bool],
        after_step: Callable[[Step], None],
        on_wait: Callable[[str], None],
    ) -> None:
        number = (await self.venue.state()).step
        async with self._listen() as ear:
            conductor = self._conductor(ear, on_wait)
            while True:
                number += 1
                step = await conductor.step(number)
                self._note(step)
                await self._look_for_first_fill(step)
                after_step(step)
                if until(step):
                    return

    def _listen(self) -> AbstractAsyncContextManager[Ear]:
        # A step ends with the executor; what wakes others on the way would only make it look too early.
        return self._bells.listen(BELL_REVIEWS, BELL_EXECUTIONS)

    def _conductor(self, ear: Ear, on_wait: Callable[[str], None]) -> Conductor:
        return Conductor(
            self.venue,
            self.truth,
            self._bells,
            ear,
            self._timer,
            on_wait=on_wait,
            screen_due_at=partial(screen_due_at, self._calendar),
        )

    async def _run_freely(
        self,
        speed: float,
        until: Callable[[Step], bool],
        after_step: Callable[[Step], None],
        on_wait: Callable[[str], None],
    ) -> None:
        """Step by machine time, a bar being a minute, waiting for nobody until the end."""
        half_bar_s = 60.0 / speed / 2
        number = (await self.venue.state()).step
        due_s = self._timer.monotonic_s()
        async with self._listen() as ear:
            conductor = self._conductor(ear, on_wait)
            while True:
                number += 1
                step = await self._advance(number)
                await self._bells.ring(BELL_CLOCK)
                self._note(step)
                await self._look_for_first_fill(step)
                after_step(step)
                if until(step):
                    await conductor.settle(step)
                    return
                # Between opening and fills a decision that was held back may still be sent; a bar
                # closes at once when it has been filled.
                if step.phase is not Phase.FILL:
                    due_s += half_bar_s
                    await self._timer.sleep(max(due_s - self._timer.monotonic_s(), 0.0))

    async def _advance(self, number: int) -> Step:
        while True:
            try:
                return await self.venue.advance(number)
            except Retryable:
                await self._timer.sleep(0.2)

    def _note(self, step: Step) -> None:
        if step.phase is Phase.CLOSE and step.instant_at != self.last_instant_at:
            self.instants += 1
            self.first_instant_at = self.first_instant_at or step.instant_at
            self.last_instant_at = step.instant_at

    async def _look_for_first_fill(self, step: Step) -> None:
        if self._first_fill_s is None and step.phase is not Phase.OPEN:
            totals = await self.truth.totals()
            if totals.fills > self._before.fills:
                self._first_fill_s = self._timer.monotonic_s() - self._began_s

    def _is_last(self, step: Step) -> bool:
        if step.finished and step.phase is Phase.CLOSE:
            return True
        if self.plan.bars is not None or step.phase is not Phase.CLOSE:
            return False
        # A generated market has no end of its own: one run is one session.
        session = self._calendar.session_at(step.instant_at - timedelta(seconds=1))
        return session is not None and session.close_at <= step.instant_at

    async def summary(self) -> Summary:
        """What this run did."""
        after, before = await self.truth.totals(), self._before
        state = await self.venue.state()
        marks = await self.truth.equity(1)
        modes = await self.truth.latest(
            "SELECT mode FROM risk_manager.v_mode WHERE account = :account"
        )
        # The venue values its positions itself; ours is the ledger's figure, marked at the last bar.
        equity = marks[-1][1] if marks else state.equity
        return Summary(
            source=self.plan.source,
            account=self.account,
            bars=after.bars - before.bars,
            signals=after.signals - before.signals,
            approved=after.approved - before.approved,
            refused=after.refused - before.refused,
            orders=after.orders - before.orders,
            fills=after.fills - before.fills,
            unknown_orders=after.unknown_orders,
            equity=equity,
            pnl=equity - self._equity_before,
            mode=modes[0][0] if modes else TradingMode.ACTIVE,
            instants=self.instants,
            first_instant_at=self.first_instant_at,
            last_instant_at=self.last_instant_at,
            seconds_to_first_fill=self._first_fill_s,
            seconds_total=self._timer.monotonic_s() - self._began_s,
            seconds_stepping=self._stepping_s,
        )


@asynccontextmanager
async def open_replay(
    instance: Instance,
    plan: ReplayPlan,
    *,
    say: Callable[[str], None] = lambda _: None,
    settings: dict[str, str] | None = None,
) -> AsyncIterator[Replay]:
    """Start everything for `plan`; on leaving, stop everything.

    Args:
        settings: what the caller wants set beside the replay's own, e.g. risk limits.
    """
    timer, ids = MonotonicTimer(), RandomIds()
    began_s = timer.monotonic_s()
    account = plan.account_label(ids)
    instance.prepare_folders()
    clock_file = instance.run / "clock"
    told = {
        **REPLAY_DEFAULTS,
        **instance.settings,
        **(settings or {}),
        **replay_settings(instance, account, clock_file, ids.new()),
    }
    instance = replace(instance, settings=told)
    stack = LocalStack(
        instance,
        (POSTGRES, REDIS, SIMULATOR),
        simulator_args=plan.simulator_arguments(account, clock_file, instance.home / "simulator"),
        owned=True,
        reload=plan.reload,
    )
    async with AsyncExitStack() as resources:
        # Starting and stopping wait for processes; the event loop stays free meanwhile. A start that fails
        # leaves nothing of its own; what it was refused for may be another's stack, and is not ours to stop.
        await asyncio.to_thread(stack.start, say)
        resources.push_async_callback(asyncio.to_thread, stack.stop)
        http = await resources.enter_async_context(
            httpx.AsyncClient(
                base_url=instance.url_of(SIMULATOR),
                headers={"Authorization": f"Bearer {told['SIMULATOR_ADMIN_TOKEN']}"},
                timeout=httpx.Timeout(10, connect=2),
                trust_env=False,
            )
        )
        venue = SimulatedVenue(http)
        state = await venue.state()
        stack.instance = replace(
            instance,
            settings={
                **told,
                "TRADING_SYMBOLS": ",".join(state.symbols),
                "TRADING_TIMEFRAME": state.timeframe,
            },
        )
        say(f"starting {', '.join(SERVICES)}")
        await asyncio.to_thread(stack.start_programs, SERVICES)
        operator = load_settings(stack.instance.operator_environment())
        # The first bar must find everybody caught up, or the history would be decided on or not by chance.
        await _until_ready(stack.instance, operator, timer)
        database = await resources.enter_async_context(
            open_database(operator, timer, pool_size=2, application="trader")
        )
        redis = await resources.enter_async_context(open_redis(operator))
        truth = Truth(database, account)
        yield Replay(
            plan=plan,
            account=account,
            stack=stack,
            venue=venue,
            truth=truth,
            latest=RedisLatestBars(redis, account),
            bells=RedisBells(redis, account, timer),
            calendar=await asyncio.to_thread(load_calendar, instance.parquet),
            timer=timer,
            began_s=began_s,
            state=state,
            before=await truth.totals(),
        )


async def _until_ready(instance: Instance, operator: Settings, timer: Timer) -> None:
    """Return when every service can do its work, not only answer.

    Raises:
        Unavailable: one could not within the bound; names it.
    """
    assert operator.api_token_read is not None  # every instance makes one
    token = operator.api_token_read.get_secret_value()
    deadline_s = timer.monotonic_s() + READY_WITHIN_S
    for service in SERVICES:
        port = instance.port_of(service)
        while await asyncio.to_thread(probe, port, "/ready", token) != httpx.codes.OK:
            if timer.monotonic_s() > deadline_s:
                raise Unavailable(
                    f"{service} was not ready within {READY_WITHIN_S:.0f} s; "
                    f"see {instance.logs / f'{service}.log'}"
                )
            await timer.sleep(0.05)
