"""What does the strategy engine answer over HTTP?

Nobody can put a signal into the pipeline here: `POST /signals/generate` either shows what a strategy would say to
the newest bars and stores nothing, or has the pipeline itself come up to them and shows what that stored.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from shared.adapters.http_api import Day, ProblemError, Role, requires
from shared.domain.bar_blocks import from_epoch_us
from shared.domain.calendar import NEW_YORK
from shared.domain.corporate_actions import Adjustment, exchange_day
from shared.domain.money import plain
from shared.domain.signals import Signal
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import parse_timeframe
from shared.ports import BarStore, Clock
from strategy_engine.catalogue import Catalogue
from strategy_engine.lines import lines_of, memory_of
from strategy_engine.parameters import UnknownName, Value, did_you_mean
from strategy_engine.ports import EvaluationStore, StrategyRun
from strategy_engine.service import StrategyEngine
from strategy_engine.strategy import Strategy


class ParameterBody(BaseModel):
    """One parameter; `value` is what the strategy runs with."""

    name: str
    type: str
    value: Value
    default: Value
    low: Value | None
    high: Value | None
    about: str


class RunBody(BaseModel):
    """How a strategy's newest run went; instants are the venue's."""

    instant_at: datetime
    ran_at: datetime
    signals: int


class StrategyBody(BaseModel):
    """A strategy: `state` is on or off when it runs in the pipeline, available when it could.

    `failures` are those in a row; at three it is turned off, until a person turns it on again.
    """

    name: str
    about: str
    state: str
    sell_means: str
    allows_shorts: bool
    bars_needed: int
    parameters: list[ParameterBody]
    failures: int
    last_error: str | None
    last_run: RunBody | None


class StrategiesBody(BaseModel):
    """All strategies there are; `broken` are modules that could not be imported, with the reason."""

    items: list[StrategyBody]
    next: None = None
    broken: dict[str, str]


class SignalBody(BaseModel):
    """A wish for one symbol; figures and prices are exact texts, dollars per share."""

    signal_id: str
    strategy: str
    symbol: str
    timeframe: str
    bar_start_at: datetime
    bar_end_at: datetime
    direction: str
    conviction: float
    reason: str
    reference_price: str
    figures: dict[str, str]


class SignalsBody(BaseModel):
    """Signals, newest first."""

    items: list[SignalBody]
    next: int | None


class GenerateBody(BaseModel):
    """What to evaluate; absent means everything that runs in the pipeline, and all symbols."""

    model_config = ConfigDict(extra="forbid")

    strategy: Annotated[str, Field(max_length=64)] | None = None
    symbols: Annotated[list[str], Field(min_length=1, max_length=500)] | None = None
    dry_run: bool = True


class GeneratedBody(BaseModel):
    """The signals of the newest batch; `stored` says that they are the pipeline's own."""

    batch_id: int
    timeframe: str
    instant_at: datetime
    decidable: bool
    symbols_evaluated: int
    stored: bool
    signals: list[SignalBody]


class LineBody(BaseModel):
    """One line over the bars, a value for each of them; None where it is not known yet."""

    name: str
    title: str
    is_price: bool
    values: list[float | None]


class LinesBody(BaseModel):
    """Lines of one symbol, oldest bar first; `start_at` names the bars."""

    symbol: str
    timeframe: str
    start_at: list[datetime]
    items: list[LineBody]
    next: None = None


class ReasonBody(BaseModel):
    """Why somebody does this."""

    model_config = ConfigDict(extra="forbid")

    # Without control characters: a reason is shown in terminals, which obey them.
    reason: Annotated[str, Field(min_length=3, max_length=500, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]


def router(
    engine: StrategyEngine,
    catalogue: Catalogue,
    store: EvaluationStore,
    tracked: Sequence[Symbol],
    history: BarStore,
    clock: Clock,
) -> APIRouter:
    """The strategy engine's own routes."""
    routes = APIRouter(tags=["strategies"])

    def find(name: str) -> Strategy:
        """The strategy called `name` as it runs, else with its defaults."""
        try:
            known = catalogue.find(name)
        except UnknownName as error:
            raise ProblemError(404, "unknown_strategy", str(error)) from None
        return engine.strategies.get(name) or known()

    @routes.get("/strategies", dependencies=[requires(Role.READ)])
    async def strategies() -> StrategiesBody:
        """All strategies, their parameters with bounds and values, and how they fare."""
        runs = await store.runs()
        return StrategiesBody(
            items=[
                _strategy(find(name), runs.get(name), runs_here=name in engine.strategies)
                for name in catalogue.strategies
            ],
            broken=dict(catalogue.broken),
        )

    @routes.post("/strategies/{name}/pause")
    async def pause(
        name: str, body: ReasonBody, role: Annotated[Role, requires(Role.OPERATE)]
    ) -> StrategyBody:
        """Turn a strategy off: it wishes for nothing more, neither in nor out; its stops stay at the broker."""
        strategy = find(name)
        run = await engine.turn_off(name, body.reason, f"token:{role.name.lower()}")
        return _strategy(strategy, run, runs_here=name in engine.strategies)

    @routes.post("/strategies/{name}/resume", dependencies=[requires(Role.OPERATE)])
    async def resume(name: str, body: ReasonBody) -> StrategyBody:
        """Turn a strategy on again that is off, because it kept failing or because somebody said so."""
        strategy = find(name)
        run = await engine.turn_on(name, body.reason)
        return _strategy(strategy, run, runs_here=name in engine.strategies)

    @routes.post("/signals/generate")
    async def generate(
        body: GenerateBody, role: Annotated[Role, requires(Role.READ)]
    ) -> GeneratedBody:
        """Evaluate the newest announced bars, as the pipeline does.

        With `dry_run` (the default) nothing is stored and any strategy may be asked. Without it (role
        operate) the pipeline evaluates, in order, all that was announced up to the newest batch, and the
        answer is what it stored; so only a strategy that runs there can be asked for, and asking
        again gives the same signals with the same ids.
        """
        if not body.dry_run and role < Role.OPERATE:
            raise ProblemError(403, "forbidden", "storing signals needs a token of role operate")
        chosen = (
            list(engine.strategies.values()) if body.strategy is None else [find(body.strategy)]
        )
        symbols = None if body.symbols is None else [parse_symbol(name) for name in body.symbols]
        batch = await engine.newest_batch()
        if batch is None:
            raise ProblemError(
                409, "no_bars", "no bars have been announced yet; the data collector does that"
            )
        known = {*batch.composition, *tracked}
        for symbol in symbols or ():
            if symbol not in known:
                raise ProblemError(
                    404,
                    "unknown_symbol",
                    f"{symbol} is not tracked; {did_you_mean(symbol, known)}",
                )
        signals: list[Signal] = []
        if body.dry_run:
            for strategy in chosen:
                signals += (await engine.preview(strategy, batch)).signals
        else:
            for strategy in chosen:
                if strategy.name not in engine.strategies:
                    raise ProblemError(
                        409,
                        "not_running",
                        f"{strategy.name} does not run in the pipeline: set STRATEGY_NAME, or ask "
                        "with dry_run",
                    )
            names = {strategy.name for strategy in chosen}
            answer = await engine.catch_up(batch)
            signals += [signal for signal in answer.signals if signal.strategy in names]
        return GeneratedBody(
            batch_id=batch.id,
            timeframe=batch.timeframe.value,
            instant_at=batch.end_at,
            decidable=batch.decidable,
            symbols_evaluated=len(
                set(batch.composition) & (known if symbols is None else set(symbols))
            ),
            stored=not body.dry_run,
            signals=[_signal(s) for s in signals if symbols is None or s.symbol in symbols],
        )

    @routes.get("/signals", dependencies=[requires(Role.READ)])
    async def signals(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        symbol: Annotated[str | None, Query(max_length=40)] = None,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
    ) -> SignalsBody:
        """Stored signals, newest first; `before` is the `next` of the page before."""
        named = None if symbol is None else parse_symbol(symbol)
        found = await store.signals(limit + 1, symbol=named, before=before)
        page = found[:limit]
        return SignalsBody(
            items=[_signal(stored.signal) for stored in page],
            next=page[-1].id if len(found) > limit else None,
        )

    @routes.get("/indicators/{symbol}", tags=["indicators"], dependencies=[requires(Role.READ)])
    async def indicators(
        symbol: str,
        names: Annotated[str, Query(max_length=200)],
        timeframe: Annotated[str | None, Query(max_length=10)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 200,
        end: Day | None = None,
    ) -> LinesBody:
        """Lines over a symbol's newest stored bars, in the shares of today; `names` are separated by commas.

        `end` is the last New York day that is looked at.
        """
        wanted = parse_symbol(symbol)
        length = engine.timeframe if timeframe is None else parse_timeframe(timeframe)
        asked = [name.strip() for name in names.split(",") if name.strip()]
        count = limit + memory_of(asked)
        now = clock.now()
        # The last day that a date can name has no end in UTC.
        until_at = now if end is None or end >= exchange_day(now) else _end_of(end)

        def read() -> tuple[list[str], list[LineBody]]:
            block = history.last(
                length,
                [wanted],
                count,
                until_at,
                adjustment=Adjustment.SPLIT,
                as_of_on=exchange_day(now),
            )
            starts = [from_epoch_us(us).isoformat() for us in block.start_us[-limit:].tolist()]
            found = lines_of(block, asked, limit) if len(block) else []
            return starts, [LineBody.model_validate(line, from_attributes=True) for line in found]

        # Away from the loop: a long history is read and reckoned, and bars must not wait for it.
        starts, lines = await asyncio.to_thread(read)
        return LinesBody(symbol=wanted, timeframe=length.value, start_at=starts, items=lines)

    return routes


def _end_of(day: date) -> datetime:
    return datetime.combine(day, time.max, NEW_YORK).astimezone(UTC)


def _strategy(strategy: Strategy, run: StrategyRun | None, *, runs_here: bool) -> StrategyBody:
    run = run or StrategyRun(strategy.name)
    state = "available"
    if runs_here:
        state = "off" if run.is_off else "on"
    last_run = None
    if run.instant_at is not None and run.ran_at is not None:
        last_run = RunBody(instant_at=run.instant_at, ran_at=run.ran_at, signals=run.signals)
    return StrategyBody(
        name=strategy.name,
        about=(type(strategy).__doc__ or "").strip().partition("\n")[0],
        state=state,
        sell_means=strategy.sell_means,
        allows_shorts=strategy.allows_shorts,
        bars_needed=strategy.bars_needed,
        parameters=[
            ParameterBody(
                name=name,
                type=parameter.kind.__name__,
                value=strategy.values[name],
                default=parameter.default,
                low=parameter.low,
                high=parameter.high,
                about=parameter.about,
            )
            for name, parameter in strategy.parameters.items()
        ],
        failures=run.failures,
        last_error=run.last_error,
        last_run=last_run,
    )


def _signal(signal: Signal) -> SignalBody:
    return SignalBody(
        signal_id=signal.signal_id,
        strategy=signal.strategy,
        symbol=signal.symbol,
        timeframe=signal.timeframe.value,
        bar_start_at=signal.bar_start_at,
        bar_end_at=signal.bar_end_at,
        direction=signal.direction.value,
        conviction=signal.conviction,
        reason=signal.reason,
        reference_price=plain(signal.reference_price),
        figures=signal.figures,
    )
