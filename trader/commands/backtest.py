"""Test a strategy on recorded bars: `trader backtest run`, and the same behind scripts/backtest.py.

A thin door: options become a plan, the backtester does the rest, and its figures are shown. Nothing that runs is needed, no
server and no key. With `--json -` standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import Timeframe, parse_timeframe
from trader.runtime.errors import NotFound

if TYPE_CHECKING:  # the command line's help needs none of the machinery
    from backtester.history import History
    from backtester.plan import Plan
    from backtester.run import Result
    from risk_manager.limits import Limits
    from strategy_engine.strategy import Strategy

app = typer.Typer()
commands = typer.Typer(
    help="Test a strategy on recorded bars.\n\nExample: trader backtest run --strategy moving_average --symbol AAPL",
    no_args_is_help=True,
)
app.add_typer(commands, name="backtest")
commands.callback()(lambda: None)

PROJECT = Path(__file__).resolve().parents[2]
# How the figures are shown: title, name in the summary, and how to write it.
ROWS = (
    ("Bars", "bars", "{:,}"),
    ("Trades", "trades", "{:,}"),
    ("Final equity", "final_equity", "{:,.2f} USD"),
    ("Total return", "total_return", "{:.2%}"),
    ("Return before costs", "gross_return", "{:.2%}"),
    ("Yearly return", "cagr", "{:.2%}"),
    ("Volatility", "volatility", "{:.2%}"),
    ("Sharpe", "sharpe", "{:.2f}"),
    ("Sortino", "sortino", "{:.2f}"),
    ("Calmar", "calmar", "{:.2f}"),
    ("Max drawdown", "max_drawdown", "{:.2%}"),
    ("Win rate", "win_rate", "{:.1%}"),
    ("Profit factor", "profit_factor", "{:.2f}"),
    ("Expectancy", "expectancy", "{:,.2f} USD a trade"),
    ("Exposure", "exposure", "{:.1%} of bars"),
    ("Turnover", "turnover", "{:.2f} a year"),
    ("Fees", "fees", "{:,.2f} USD"),
    ("Slippage", "slippage_cost", "{:,.2f} USD"),
)


@commands.command()
def run(
    strategy: Annotated[str, typer.Option(help="Which strategy, e.g. moving_average.")],
    symbol: Annotated[str | None, typer.Option(help="One symbol, e.g. AAPL.")] = None,
    symbols: Annotated[
        str | None, typer.Option(help="Several, e.g. AAPL,MSFT; with --data default: all in it.")
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First day traded, e.g. 2023-01-01; earlier bars warm up.")
    ] = None,
    end: Annotated[str | None, typer.Option(help="Last day, e.g. 2023-12-31.")] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet file, or a folder of them; default: the store."),
    ] = None,
    timeframe: Annotated[
        str | None,
        typer.Option(help="1Min, 5Min, 15Min, 1Hour or 1Day (default; files: what they hold)."),
    ] = None,
    cash: Annotated[float, typer.Option(help="Dollars to begin with.")] = 100_000.0,
    commission_bps: Annotated[
        float, typer.Option(help="Commission, hundredths of a per cent of each fill.")
    ] = 0.0,
    commission_per_share: Annotated[float, typer.Option(help="Commission, dollars a share.")] = 0.0,
    slippage_bps: Annotated[
        float, typer.Option(help="How much worse market orders fill than the open.")
    ] = 0.0,
    max_volume_share: Annotated[
        float, typer.Option(help="At most this share of a bar's volume is filled.")
    ] = 0.1,
    fractional: Annotated[
        bool, typer.Option("--fractional", help="Trade parts of shares.")
    ] = False,
    sizing: Annotated[
        str | None,
        typer.Option(
            help="limits (as live; default with the risk rules), all_in, fraction=0.2, risk=0.01 or "
            "equal_weight=10 (default without them: as many as symbols)."
        ),
    ] = None,
    no_risk: Annotated[
        bool, typer.Option("--no-risk", help="Without the risk rules, stops and targets.")
    ] = False,
    no_fees: Annotated[
        bool, typer.Option("--no-fees", help="Without what US regulators take of sales.")
    ] = False,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter, e.g. short_window=10; may be repeated.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="fast, or reference: the objects that trade live, slowly.")
    ] = "fast",
    json_to: Annotated[
        str | None, typer.Option("--json", help="Write the result as JSON to this file, or - here.")
    ] = None,
) -> None:
    """Test a strategy on recorded bars, with the rules that hold live.

    Example: trader backtest run --strategy moving_average --symbol AAPL --start 2023-01-01
    """
    # Checked before anything heavy is imported: a wrong word is answered at once.
    asked = _symbols(symbol, symbols)
    start_on, end_on = _day("--start", start), _day("--end", end)
    if start_on is not None and end_on is not None and start_on > end_on:
        raise InvalidInput(f"--start {start_on} is after --end {end_on}; exchange them")
    length = None if timeframe is None else parse_timeframe(timeframe)
    if data is None and not asked:
        raise InvalidInput("say what to trade: --symbol AAPL, or --data with a file of bars")

    from backtester.history import NoData
    from backtester.run import Engine, backtest

    if engine not in list(Engine):
        raise InvalidInput(f"--engine must be fast or reference, was {engine[:40]!r}")
    made = _strategy(strategy, param or [])
    environment = _environment()
    limits = None if no_risk else _limits(environment)
    try:
        history = _history(data, asked, length, end_on, environment)
        if asked:
            _refuse_others(history, asked)
        plan = _plan(
            sizing,
            limits,
            len(history.panel.symbols),
            cash=cash,
            commission_bps=commission_bps,
            commission_per_share=commission_per_share,
            slippage_bps=slippage_bps,
            max_volume_share=max_volume_share,
            fractional=fractional,
            regulatory_fees=not no_fees,
        )
        result = backtest(
            made, history, plan, engine=Engine(engine), start_on=start_on, end_on=end_on
        )
    except NoData as error:
        raise NotFound(str(error)) from error
    if json_to is not None:
        _write_json(result, json_to)
    if json_to != "-":
        _show(result)


def _symbols(one: str | None, several: str | None) -> tuple[Symbol, ...]:
    given = [text for text in (one, *(several or "").split(",")) if text and text.strip()]
    found = [parse_symbol(text.strip().upper()) for text in given]
    twice = sorted({symbol for symbol in found if found.count(symbol) > 1})
    if twice:
        raise InvalidInput(f"{', '.join(twice)} is named twice; name each symbol once")
    return tuple(sorted(found))


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(f"{option} must be a day like 2023-01-31, was {text[:40]!r}") from None


def _strategy(name: str, assignments: Sequence[str]) -> Strategy:
    from strategy_engine.catalogue import discover
    from strategy_engine.parameters import read_assignments

    kind = discover().find(name)
    return kind(**read_assignments(",".join(assignments)))


def _environment() -> Mapping[str, str]:
    from trader.runtime.first_run import read_settings

    return {**read_settings(PROJECT / ".env"), **os.environ}


def _limits(environment: Mapping[str, str]) -> Limits:
    """The limits that live trading obeys.

    Read here when each is a plain number, which they nearly always are: the settings' own machinery takes longer to
    import than a backtest to run. Whatever else stands there is that machinery's to judge.
    """
    from backtester.plan import DEFAULT_LIMITS
    from risk_manager.limits import Limits

    known = {f"RISK_{field.name.upper()}": field.name for field in fields(Limits)}
    ports = {"RISK_MANAGER_PORT"}
    given = {k: v for k, v in environment.items() if k.startswith("RISK_") and k not in ports}
    values = {name: getattr(DEFAULT_LIMITS, name) for name in known.values()}
    plain = {int: int, float: float}
    try:
        for key, text in given.items():
            kind = plain[type(values[known[key]])]
            values[known[key]] = kind(text.split(" #", 1)[0].strip())
        return Limits(**values)
    except (KeyError, ValueError, InvalidInput):
        from shared.config import load_settings

        return Limits.of(load_settings(environment))


def _history(
    data: Path | None,
    asked: Sequence[Symbol],
    length: Timeframe | None,
    end_on: date | None,
    environment: Mapping[str, str],
) -> History:
    from backtester.history import NoData, read_history, stored_history
    from shared.adapters.exchange_calendar import load_calendar

    store = Path(environment.get("DATA_DIR") or PROJECT / "data" / "parquet")
    calendar = load_calendar(store)
    if data is None:
        account = environment.get("TRADING_ACCOUNT") or "paper"
        return stored_history(
            store / account, calendar, asked, length or Timeframe.DAY, until_on=end_on
        )
    if not data.exists():
        raise NoData(f"{data}: there is no such file or folder; correct --data")
    return read_history(data, calendar, asked, length)


def _refuse_others(history: History, asked: Sequence[Symbol]) -> None:
    assert tuple(history.panel.symbols) == tuple(asked), "the reader gives what was asked for"


def _plan(sizing: str | None, limits: Limits | None, count: int, **terms: Any) -> Plan:
    from backtester.plan import Plan, read_sizing

    if sizing is None:
        sizing = "limits"
        if limits is None or terms["fractional"]:
            sizing = f"equal_weight={count}"
    return Plan(sizing=read_sizing(sizing), limits=limits, **terms)


def _write_json(result: Result, target: str) -> None:
    from backtester.run import document

    text = json.dumps(document(result), allow_nan=False, separators=(",", ":"))
    if target == "-":
        print(text)
        return
    try:
        Path(target).write_text(text + "\n")
    except OSError as error:
        raise InvalidInput(f"--json {target} cannot be written: {error.strerror}") from error


def _show(result: Result) -> None:
    from rich.console import Console
    from rich.table import Table

    history = result.history
    names = list(history.panel.symbols)
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    values = ", ".join(f"{k}={v}" for k, v in result.strategy.values.items())
    console = Console(highlight=False)
    console.print(f"{result.strategy.name} ({values}) on {shown}", markup=False)
    console.print(
        f"{history.panel.timeframe} bars, {history.day(0)} to {history.day(-1)}, from "
        f"{history.source}; {'risk rules on' if result.plan.limits else 'no risk rules'}, "
        f"sizing {result.plan.sizing.name}",
        markup=False,
    )
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for title, name, form in ROWS:
        value = result.summary[name]
        table.add_row(title, "-" if value is None else form.format(value))
    console.print(table)
    for warning in result.warnings:
        console.print(f"note: {warning}", markup=False)
