"""Test a strategy on recorded bars: `trader backtest run`, and the same behind scripts/backtest.py.

A thin door: options become a request, the backtester does the rest, and what it says is shown. Runs are kept, so that
they can be listed, shown, compared and verified later. Nothing that runs is needed, no server and no key. With
`--json -` standard output holds one JSON document and nothing else.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shared.domain.errors import InvalidInput
from shared.domain.symbols import Symbol, parse_symbol
from shared.domain.timeframes import parse_timeframe
from trader.commands.targets import Target, check_targets, document_alone, write_targets
from trader.exits import ExitCode
from trader.runtime.errors import NotFound

if TYPE_CHECKING:  # the command line's help needs none of the machinery
    from backtester.plan import Plan
    from backtester.results.manifest import Request
    from backtester.results.tearsheet import Tearsheet
    from backtester.run import Result
    from risk_manager.limits import Limits
    from trader.backtests import Desk

app = typer.Typer()
commands = typer.Typer(
    help="Test a strategy on recorded bars.\n\nExample: trader backtest run --strategy moving_average --symbol AAPL",
    no_args_is_help=True,
)
app.add_typer(commands, name="backtest")
commands.callback()(lambda: None)

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
RunArgument = Annotated[
    str, typer.Argument(metavar="ID", help="Its id, the beginning of it, or `latest`.")
]


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
        str | None,
        typer.Option(
            metavar="<path>", help="CSV or Parquet file, or a folder of them; default: the store."
        ),
    ] = None,
    actions: Annotated[
        str | None,
        typer.Option(
            metavar="<path>",
            help="Splits and dividends of raw prices in --data, as trader actions import reads them.",
        ),
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
    trail: Annotated[
        float, typer.Option(help="Stops follow the close at this fraction below it; 0 stay.")
    ] = 0.0,
    borrow_rate: Annotated[
        float, typer.Option(help="What a year with borrowed shares costs, of their worth.")
    ] = 0.003,
    unlent: Annotated[
        str | None, typer.Option(help="Symbols that nobody lends, e.g. GME,AMC.")
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="A parameter, e.g. short_window=10; may be repeated.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="fast, or reference: the objects that trade live, slowly.")
    ] = "fast",
    benchmark: Annotated[
        str | None,
        typer.Option(help="Compare with holding this symbol; default: holding what is traded."),
    ] = None,
    envelope: Annotated[
        bool,
        typer.Option("--envelope", help="Also with better and with worse fills; shows the spread."),
    ] = False,
    seed: Annotated[
        int, typer.Option(help="Of the resampling that says how sure a mean profit is.")
    ] = 1,
    report: Annotated[
        str | None, typer.Option(help="Write a report to this HTML file; it needs no network.")
    ] = None,
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
    other = None if benchmark is None else parse_symbol(benchmark.strip().upper())
    if not 0 <= seed < 2**32:
        raise InvalidInput(f"--seed must be 0 to {2**32 - 1}, was {seed}")
    if data is None and not asked:
        raise InvalidInput("say what to trade: --symbol AAPL, or --data with a file of bars")
    if actions is not None and data is None:
        raise InvalidInput(
            "--actions belongs to --data; the store has its own (trader actions import FILE)"
        )
    for option, path in (("--data", data), ("--actions", actions)):
        if path == "":
            raise InvalidInput(f"{option} needs the name of a file")
    not_lent = frozenset(_named("--unlent", unlent))
    targets = [
        Target(option, name)
        for option, name in (("--json", json_to), ("--report", report))
        if name is not None and (option, name) != ("--json", "-")
    ]
    check_targets(targets, read=(data, actions))

    from backtester.history import NoData
    from backtester.results.manifest import Request
    from backtester.run import Engine
    from strategy_engine.parameters import read_assignments
    from trader.backtests import Desk, strategy_of

    if engine not in list(Engine):
        raise InvalidInput(f"--engine must be fast or reference, was {engine[:40]!r}")
    with document_alone(json_to == "-"):
        made = strategy_of(strategy, read_assignments(",".join(param or [])))
    desk = Desk.of_project()
    limits = None if no_risk else desk.limits
    source = None if data is None else os.path.realpath(data)
    known_actions = None if actions is None else os.path.realpath(actions)
    try:
        with document_alone(json_to == "-"):
            history = desk.bars(source, desk.account, asked, length, end_on, known_actions)
            request = Request(
                strategy=made.name,
                parameters=made.values,
                data=source,
                account=desk.account,
                symbols=asked,
                timeframe=length,
                start_on=start_on,
                end_on=end_on,
                plan=_plan(
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
                    trail=trail,
                    borrow_rate=borrow_rate,
                    unlent=not_lent,
                ),
                engine=Engine(engine),
                benchmark=other,
                seed=seed,
                actions=known_actions,
            )
            result = desk.run(request, history, made)
            sheet = desk.tearsheet(request, result, envelope=envelope)
    except NoData as error:
        raise NotFound(str(error)) from error
    write_targets([(each, _text_for(each, sheet)) for each in targets])
    document = sheet.document(every_bar=False)
    is_kept = True
    try:
        desk.keep(document)
    except InvalidInput as error:
        # The figures are right all the same, and a full disk must not take them away.
        is_kept = False
        print(f"trader: {error}", file=sys.stderr)
    if json_to == "-":
        print(_json_of(sheet))
        return
    from trader.commands.backtest_screen import show_run

    show_run(document, is_kept=is_kept)


@commands.command("list")
def list_runs(
    strategy: Annotated[str | None, typer.Option(help="Of this strategy alone.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most so many.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the runs that were kept, the newest first.

    Example: trader backtest list --strategy moving_average
    """
    from trader.backtests import Desk

    kept_runs, damaged = Desk.of_project().archive.listed()
    runs = [
        kept for kept in kept_runs if strategy is None or kept.manifest["strategy"] == strategy
    ][:limit]
    for path in damaged:
        print(
            f"trader: {path} is damaged and not listed; delete it and run that backtest anew",
            file=sys.stderr,
        )
    if as_json:
        rows = [
            {
                "ran_at": kept.ran_at,
                "manifest": kept.manifest,
                "summary": kept.summary,
                "diagnoses": kept.diagnoses,
            }
            for kept in runs
        ]
        print(json.dumps(rows))
        return
    from trader.commands.backtest_screen import show_list

    show_list(runs)


@commands.command()
def show(
    run: RunArgument,
    report: Annotated[
        str | None, typer.Option(help="Do it again and write its report to this HTML file.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show a run that was kept.

    Example: trader backtest show latest --report report.html
    """
    from backtester.history import NoData
    from backtester.results.comparison import Unrepeatable, Verification
    from backtester.results.manifest import manifest_of
    from trader.backtests import Desk

    targets = [] if report is None else [Target("--report", report)]
    check_targets(targets)
    desk = Desk.of_project()
    document = _kept(desk, run)
    for target in targets:
        check_targets(targets, read=(document["manifest"]["data"], document["manifest"]["actions"]))
        with document_alone(as_json):
            request, result = _again(desk, document)
            verification = Verification.of(document["manifest"], manifest_of(request, result))
            if not verification.is_same:
                raise Unrepeatable(verification.sentence)
            try:
                sheet = desk.tearsheet(request, result, envelope=bool(document["envelope"]))
            except NoData as error:
                raise NotFound(str(error)) from error
        write_targets([(target, _text_for(target, sheet))])
    if as_json:
        print(json.dumps(document))
        return
    from trader.commands.backtest_screen import show_kept

    show_kept(document)


@commands.command()
def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="ID ID ...", help="Two to eight kept runs; the first is the measure."
        ),
    ],
    as_json: JsonOption = False,
) -> None:
    """Set kept runs side by side: what differs in what was asked, and in what came out.

    Example: trader backtest compare latest k3v9
    """
    from backtester.results.comparison import compare_runs
    from trader.backtests import Desk

    desk = Desk.of_project()
    if not 2 <= len(runs) <= 8:
        raise InvalidInput(f"two to eight runs can be compared, {len(runs)} were named")
    comparison = compare_runs([_kept(desk, run) for run in runs])
    if as_json:
        print(json.dumps(comparison.document()))
        return
    from trader.commands.backtest_screen import show_comparison

    show_comparison(comparison)


@commands.command()
def verify(run: RunArgument, as_json: JsonOption = False) -> int:
    """Do a kept run again and look whether it comes out the same, fill by fill; ends with 1 if not.

    Example: trader backtest verify latest
    """
    from backtester.results.comparison import Verification
    from backtester.results.manifest import manifest_of
    from trader.backtests import Desk

    desk = Desk.of_project()
    document = _kept(desk, run)
    with document_alone(as_json):
        now = manifest_of(*_again(desk, document))
    verification = Verification.of(document["manifest"], now)
    if as_json:
        print(json.dumps(verification.document()))
    else:
        print(verification.sentence)
    return ExitCode.OK if verification.is_same else ExitCode.ERROR


def _again(desk: Desk, document: Mapping[str, Any]) -> tuple[Request, Result]:
    """The kept run of `document`, done again with what stands there today."""
    from backtester.history import NoData
    from backtester.results.manifest import request_of

    request = request_of(document["manifest"])
    try:
        return request, desk.run(request)
    except NoData as error:
        run = document["manifest"]["id"]
        raise NotFound(f"run {run} cannot be done again: {error}") from error


def _kept(desk: Desk, run: str) -> dict[str, Any]:
    from backtester.results.archive import UnknownRun

    try:
        return desk.archive.document(run)
    except UnknownRun as error:
        raise NotFound(str(error)) from error


def _symbols(one: str | None, several: str | None) -> tuple[Symbol, ...]:
    found = _named("--symbol", one) + _named("--symbols", several)
    twice = sorted({symbol for symbol in found if found.count(symbol) > 1})
    if twice:
        raise InvalidInput(f"{', '.join(twice)} is named twice; name each symbol once")
    return tuple(sorted(found))


def _named(option: str, text: str | None) -> list[Symbol]:
    """The symbols behind `option`, which says something if it is given."""
    words = [word.strip() for word in (text or "").split(",") if word.strip()]
    if text is not None and not words:
        raise InvalidInput(f"{option} names no symbol; write for example {option} AAPL")
    found = [parse_symbol(word.upper()) for word in words]
    twice = sorted({symbol for symbol in found if found.count(symbol) > 1})
    if twice:
        raise InvalidInput(f"{', '.join(twice)} is named twice; name each symbol once")
    return found


def _day(option: str, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        return date.fromisoformat(text.strip())
    except ValueError:
        raise InvalidInput(f"{option} must be a day like 2023-01-31, was {text[:40]!r}") from None


def _plan(sizing: str | None, limits: Limits | None, count: int, **terms: Any) -> Plan:
    from backtester.plan import Plan, read_sizing

    if sizing is None:
        sizing = "limits"
        if limits is None or terms["fractional"]:
            sizing = f"equal_weight={count}"
    return Plan(sizing=read_sizing(sizing), limits=limits, **terms)


def _json_of(sheet: Tearsheet) -> str:
    return json.dumps(sheet.document(), allow_nan=False, separators=(",", ":"))


def _text_for(target: Target, sheet: Tearsheet) -> str:
    if target.option == "--json":
        return _json_of(sheet) + "\n"
    from backtester.report.page import page_of

    return page_of(sheet)
