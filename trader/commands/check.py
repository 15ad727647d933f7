"""Check what a strategy may not do: `trader check lookahead|warmup`.

Thin: `strategy_engine.checks` decides the same bars again and compares. Without bars of your own it uses made-up ones, so it
works at once. Ends with 1 when something was found, so that a script can rely on it.
"""

import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shared.domain.errors import InvalidInput, TradingError
from shared.domain.symbols import parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from trader.commands.targets import document_alone
from trader.exits import ExitCode
from trader.runtime.errors import NotFound

if TYPE_CHECKING:  # the command line's help needs none of the machinery
    from strategy_engine.checks import Checked
    from strategy_engine.panels import Panel
    from strategy_engine.strategy import Strategy

app = typer.Typer()
commands = typer.Typer(
    help="Check what a strategy may not do.\n\nExample: trader check lookahead moving_average",
    no_args_is_help=True,
)
app.add_typer(commands, name="check")
commands.callback()(lambda: None)

# A strategy that hangs must not hold whoever asks.
_WITHIN_S = 300.0

StrategyArgument = Annotated[str, typer.Argument(help="Which strategy, e.g. moving_average.")]
SymbolOption = Annotated[
    str | None,
    typer.Option(help="On this symbol's bars; default: all of --data, else made-up bars."),
]
DataOption = Annotated[
    Path | None,
    typer.Option(help="CSV or Parquet file or folder; default with --symbol: the store."),
]
TimeframeOption = Annotated[
    str | None,
    typer.Option("--timeframe", "-t", help="1Min, 5Min, 15Min, 1Hour or 1Day (default)."),
]
ParamOption = Annotated[
    list[str] | None, typer.Option("--param", help="A parameter, e.g. short_window=10; repeatable.")
]
FolderOption = Annotated[
    Path | None, typer.Option(help="Where your own strategies lie; default: the project's folder.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@commands.command()
def lookahead(
    strategy: StrategyArgument,
    symbol: SymbolOption = None,
    data: DataOption = None,
    timeframe: TimeframeOption = None,
    param: ParamOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Decide bars again with the future cut off; a strategy that knew it says something else then.

    Example: trader check lookahead moving_average --symbol AAPL
    """
    from strategy_engine.checks import check_lookahead

    with document_alone(as_json):
        made = _strategy(strategy, param or [], folder)
    panel = _bars(made, symbol, data, timeframe)
    return _report("lookahead", made, panel, check_lookahead, as_json)


@commands.command()
def warmup(
    strategy: StrategyArgument,
    symbol: SymbolOption = None,
    data: DataOption = None,
    timeframe: TimeframeOption = None,
    param: ParamOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
) -> int:
    """Decide bars again in the window of live trading; one that needs more bars says something else there.

    Example: trader check warmup moving_average --data AAPL.csv
    """
    from strategy_engine.checks import check_warmup

    with document_alone(as_json):
        made = _strategy(strategy, param or [], folder)
    panel = _bars(made, symbol, data, timeframe)
    return _report("warmup", made, panel, check_warmup, as_json)


def _strategy(name: str, assignments: list[str], folder: Path | None) -> "Strategy":
    from strategy_engine.catalogue import USER_FOLDER, discover
    from strategy_engine.parameters import UnknownName, read_assignments

    try:
        kind = discover(folder or USER_FOLDER).find(name)
    except UnknownName as error:
        raise NotFound(str(error)) from None
    return kind(**read_assignments(",".join(assignments)))


def _bars(
    strategy: "Strategy", symbol: str | None, data: Path | None, timeframe: str | None
) -> "Panel":
    length = None if timeframe is None else parse_timeframe(timeframe)
    if symbol is None and data is None:
        from strategy_engine.checks import made_up_bars

        return made_up_bars(strategy, length or Timeframe.DAY)
    from backtester.history import NoData, read_history, stored_history
    from trader.backtests import Desk

    desk = Desk.of_project()
    symbols = [] if symbol is None else [parse_symbol(symbol.strip().upper())]
    calendar = desk.calendar
    if data is not None and not os.path.exists(data):  # noqa: PTH110  # as in `Desk.bars`
        raise NotFound(f"{data}: there is no such file or folder; correct --data")
    try:
        if data is None:
            length = length or Timeframe.DAY
            history = stored_history(desk.store / desk.account, calendar, symbols, length)
        else:
            history = read_history(data, calendar, symbols, length)
    except NoData as error:
        raise NotFound(str(error)) from None
    if strategy.uses_screens or strategy.uses_fundamentals:
        # Imported here: no other check asks a database.
        from trader.universe import with_kept_universe

        history = with_kept_universe(history, desk.account, strategy)
    return history.panel


def _report(
    what: str,
    strategy: "Strategy",
    panel: "Panel",
    check: Callable[["Strategy", "Panel"], "Checked"],
    as_json: bool,
) -> int:
    from strategy_engine.blame import lines_of, place_in
    from strategy_engine.patience import TookTooLong, within

    try:
        with document_alone(as_json):
            found = within(_WITHIN_S, partial(check, strategy, panel))
    except TookTooLong as error:
        place = place_in(strategy, error.lines)
        raise InvalidInput(f"strategy {strategy.name} ({place}): {error}") from error
    except TradingError as error:
        place = place_in(strategy, lines_of(error))
        raise InvalidInput(f"strategy {strategy.name} ({place}): {error}") from error
    except Exception as error:  # a stranger's code may raise anything
        place = place_in(strategy, lines_of(error))
        said = " ".join(str(error).split())[:200]
        raise InvalidInput(
            f"strategy {strategy.name} failed ({place}): {type(error).__name__}: {said}"
        ) from error
    lines = [f"{d.symbol} {_when(panel, d.row)}: {d.sentence}" for d in found.differences]
    if as_json:
        document = {
            "check": what,
            "strategy": strategy.name,
            "instants": found.instants,
            "wishes": found.wishes,
            "differences": lines,
        }
        print(json.dumps(document))
    else:
        verdict = f"{len(lines)} differences found" if lines else "no difference found"
        print(
            f"{what} of {strategy.name}: {verdict} at {found.instants} instants with {found.wishes} wishes, "
            f"{panel.timeframe} bars of {', '.join(panel.symbols[:5])}"
        )
        for line in lines:
            print(f"  {line}")
    return ExitCode.ERROR if lines else ExitCode.OK


def _when(panel: "Panel", row: int) -> str:
    if panel.end_us is None:
        return f"at bar {row}"
    ends = panel.end_us[row]
    return f"{datetime.fromtimestamp(int(ends.max()) / 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"
