"""How is a backtest carried out on this machine?

Where the bars, the limits and the kept runs are; what a request becomes; and how a kept run is done again. The command line
asks here, and so may whatever else wants to run one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtester.history import History, NoData, read_history, stored_history
from backtester.plan import DEFAULT_LIMITS, Plan
from backtester.run import Result, backtest
from risk_manager.limits import Limits
from shared.adapters.clocks import WallClock
from shared.adapters.exchange_calendar import load_calendar
from shared.domain.calendar import TradingCalendar
from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from shared.storage import Place, is_bucket
from strategy_engine.strategy import Strategy
from trader.runtime.places import history_folder, home_in, project_folder, settings_file_of

if TYPE_CHECKING:  # what is said about a run is needed only once there is one
    from backtester.results.archive import Archive
    from backtester.results.benchmark import Benchmark
    from backtester.results.manifest import Request
    from backtester.results.tearsheet import Tearsheet


@dataclass(frozen=True)
class Desk:
    """The machine's own things: settings by name, from `.env` and the process environment."""

    environment: Mapping[str, str]

    @classmethod
    def of_project(cls) -> Desk:
        """With the settings of this project; the process environment stands above `.env`."""
        from trader.runtime.first_run import read_settings

        home = home_in(os.environ)
        return cls({**read_settings(settings_file_of(project_folder(), home)), **os.environ})

    @property
    def home(self) -> Path:
        """The folder of everything that this project stores."""
        return home_in(self.environment)

    @property
    def store(self) -> Place:
        """Where the bars lie, with one folder per account."""
        folder = history_folder(self.environment, project_folder(), self.home)
        if is_bucket(self.environment.get("DATA_DIR", "")):
            # Imported here, as in `limits`.
            from shared.config import history_in

            return history_in(self.environment, folder)
        return folder

    @property
    def account(self) -> str:
        """Whose bars are read where no file is given."""
        return self.environment.get("TRADING_ACCOUNT") or "paper"

    @property
    def archive(self) -> Archive:
        """The kept runs."""
        from backtester.results.archive import Archive

        return Archive(self.home / "backtests")

    @cached_property
    def calendar(self) -> TradingCalendar:
        """The exchange's sessions."""
        store = self.store
        return load_calendar(store if isinstance(store, Path) else self.home / "parquet")

    @property
    def limits(self) -> Limits:
        """The limits that live trading obeys.

        Read here when each is a plain number, which they nearly always are: the settings' own machinery takes longer to
        import than a backtest to run. Whatever else stands there is that machinery's to judge.
        """
        return limits_of(self.environment)

    def bars(
        self,
        data: str | None,
        account: str,
        symbols: tuple[Symbol, ...],
        timeframe: Timeframe | None,
        end_on: date | None,
        actions: str | None = None,
    ) -> History:
        """The bars that were asked for, with the splits and dividends that are known of them.

        The store knows its own; `actions` is a file of those of raw prices in `data`.

        Raises:
            NoData: there are none; the text says how to get some.
        """
        # Each imported here: the other one's packages are not needed.
        if data is None:
            from shared.adapters.action_store import ParquetActions

            folder = self.store / account
            history = stored_history(
                folder, self.calendar, symbols, timeframe or Timeframe.DAY, until_on=end_on
            )
            found = ParquetActions(folder).actions(symbols, until_on=end_on)
            return replace(history, actions=tuple(found))
        path = Path(data)
        if not os.path.exists(path):  # noqa: PTH110  # Path raises for names that no file can have
            raise NoData(f"{data[:200]}: there is no such file or folder; correct --data")
        if actions is not None and not os.path.isfile(actions):  # noqa: PTH113  # as above
            raise NoData(f"{actions[:200]}: there is no such file; correct --actions")
        history = read_history(path, self.calendar, symbols, timeframe)
        if actions is None:
            return history
        from shared.adapters.action_files import read_actions

        known = set(history.panel.symbols)
        return replace(
            history,
            actions=tuple(each for each in read_actions(Path(actions)) if each.symbol in known),
        )

    def run(
        self,
        request: Request,
        history: History | None = None,
        strategy: Strategy | None = None,
    ) -> Result:
        """Carry `request` out; `history` and `strategy` are its own, if they are at hand already."""
        if history is None:
            history = self.bars(
                request.data,
                request.account,
                request.symbols,
                request.timeframe,
                request.end_on,
                request.actions,
            )
        strategy = strategy or strategy_of(request.strategy, request.parameters)
        if strategy.uses_screens or strategy.uses_fundamentals:
            # Imported here: no other run asks a database.
            from trader.universe import with_kept_universe

            history = with_kept_universe(history, request.account, strategy)
        return backtest(
            strategy,
            history,
            request.plan,
            engine=request.engine,
            start_on=request.start_on,
            end_on=request.end_on,
        )

    def benchmark(self, request: Request, result: Result) -> Benchmark | None:
        """What `request` wants to be compared with: from the same bars, from --data or from the store, in this order.

        Raises:
            NoData: none of them has it.
        """
        from backtester.results.benchmark import on_days_of

        symbol = request.benchmark
        if symbol is None:
            return None
        timeframe = result.history.panel.timeframe
        sources = [request.data, None] if request.data is not None else [None]
        for source in sources:
            try:
                other = self.bars(
                    source,
                    request.account,
                    (symbol,),
                    timeframe,
                    request.end_on,
                    None if source is None else request.actions,
                )
            except NoData:
                continue
            return on_days_of(result.history, other, request.plan.cash)
        where = f"neither {request.data} nor the store has" if request.data else "the store has no"
        raise NoData(
            f"{where} {timeframe} bars of the benchmark {symbol}; fetch them (trader data fetch {symbol}), bring them "
            f"in (trader data import FILE), or leave --benchmark out"
        )

    def tearsheet(self, request: Request, result: Result, *, envelope: bool = False) -> Tearsheet:
        """Everything about `result`; `envelope` runs it twice more, under better and worse fills."""
        from backtester.results.envelope import envelope_of
        from backtester.results.foresight import foresight_of
        from backtester.results.manifest import manifest_of
        from backtester.results.tearsheet import tearsheet_of

        def again(plan: Plan) -> Result:
            # From the whole history as before: bars ahead of the start warm the indicators up.
            return self.run(replace(request, plan=plan), strategy=result.strategy)

        manifest = manifest_of(request, result)
        return tearsheet_of(
            request,
            result,
            manifest,
            benchmark=self.benchmark(request, result),
            trials=self.archive.trials_with(
                manifest["data_hash"], manifest["id"], result.summary["sharpe"]
            ),
            foresight=foresight_of(result.strategy, result.history),
            envelope=envelope_of(result, again) if envelope else None,
        )

    def keep(self, document: Mapping[str, Any]) -> None:
        """Keep a run's `document`, daily equity in it, among the others.

        Raises:
            InvalidInput: it cannot be written.
        """
        self.archive.keep(document, WallClock().now())


def strategy_of(name: str, parameters: Mapping[str, object]) -> Strategy:
    """The strategy called `name` with these parameters."""
    from strategy_engine.catalogue import discover

    return discover().find(name)(**parameters)


def limits_of(environment: Mapping[str, str]) -> Limits:
    """See `Desk.limits`."""
    known = {f"RISK_{field.name.upper()}": field.name for field in fields(Limits)}
    ports = {"RISK_MANAGER_PORT"}
    given = {k: v for k, v in environment.items() if k.startswith("RISK_") and k not in ports}
    values = {name: getattr(DEFAULT_LIMITS, name) for name in known.values()}
    try:
        for key, text in given.items():
            # Numbers alone: bool("false") is True.
            kind = {int: int, float: float}[type(values[known[key]])]
            values[known[key]] = kind(text.split(" #", 1)[0].strip())
        return Limits(**values)
    except (KeyError, ValueError, InvalidInput):
        from shared.config import load_settings

        return Limits.of(load_settings(environment))
