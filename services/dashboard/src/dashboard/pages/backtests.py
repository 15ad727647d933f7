"""Backtests: run one, see what was kept, doubt it, compare it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from nicegui import ui

from dashboard.adapters.backtests import Backtests
from dashboard.parts.charts import Chart
from dashboard.parts.controls import button, card, element, say
from dashboard.parts.dialogs import Asked, ask
from dashboard.parts.table import Table
from dashboard.parts.visit import Refresh, Visit
from dashboard.shown import backtests as shown
from dashboard.shown.candles import TIMEFRAMES
from shared.domain.errors import Rejected, TradingError

_LONGEST_ID = 32
_MOST_COMPARED = 8


def build(visit: Visit) -> Refresh:
    """The page, and what brings it up to date."""
    desk = visit.rooms.backtests
    wanted = _plain(visit.query.get("id", ""))
    compared = [_plain(each) for each in visit.query.get("compare", "").split(",") if each][
        :_MOST_COMPARED
    ]

    def act(_: str, run_id: str) -> None:
        others = [each for each in (compared or ([wanted] if wanted else [])) if each != run_id]
        ui.navigate.to(f"/backtests?compare={','.join([*others, run_id])}")

    if wanted:
        whole = element("div", "stack")
    if compared:
        with card(
            "Comparison", note="choose Compare at two or more runs; the first is the measure"
        ):
            beside = element("div")
    with element("div", "grid"), card("Kept runs") as (note, tools):
        if visit.rights.may_operate:
            with tools:
                button("Run a backtest", lambda: _run(visit), "primary small")
        table = Table(
            "Kept runs",
            shown.COLUMNS,
            empty="No run was kept yet.",
            hint="Run one here, or with trader backtest run; every run is kept with what it rests on.",
            on_act=act,
        )
    is_drawn = False

    async def draw() -> None:
        """Draw what never changes again: one run, or several beside each other."""
        nonlocal is_drawn
        if wanted:
            document, why = await _asked(visit, ("backtest", wanted), lambda: desk.run(wanted))
            if why is not None:
                raise Rejected(why)
            with whole:
                _whole(document, wanted)
        if len(compared) > 1:
            names = ("comparison", *compared)
            several, why = await _asked(visit, names, lambda: desk.comparison(compared))
            if why is not None:
                raise Rejected(why)
            columns, rows = shown.comparison(several)
            grown: dict[str, Any] = {}
            for run_id in compared:
                grown[run_id], _ = await _asked(
                    visit, ("backtest", run_id), partial(desk.run, run_id)
                )
            with beside:
                chart = Chart("Growth of the compared runs", "chart-m")
                chart.show(shown.curves({name: run for name, run in grown.items() if run}))
                Table(
                    "Comparison",
                    columns,
                    empty="These runs have nothing in common.",
                    searchable=False,
                ).show(rows)
        # Only now: a first look that took too long is broken off, and the next one draws.
        is_drawn = True

    async def refresh() -> None:
        if not is_drawn:
            await draw()
        latest, running_s = desk.latest, desk.running_s()
        if latest is not None:
            told = shown.progress(
                latest.what, running_s, latest.failed, latest.run_id, latest.took_s
            )
            say(note, told.text, told.tone)
        table.show(shown.rows(await _kept(visit, desk)))

    return refresh


async def _kept(visit: Visit, desk: Backtests) -> list[dict[str, Any]]:
    """The list, asked for again when a run has ended."""
    newest = desk.latest.run_id if desk.latest is not None else None
    runs, why = await _asked(visit, ("backtests", newest), desk.runs)
    if why is not None:
        raise Rejected(why)
    return list(runs)


async def _asked(
    visit: Visit, key: object, load: Callable[[], Awaitable[Any]]
) -> tuple[Any, str | None]:
    """An answer or a refusal, kept for a minute either way, since a process is started for each."""

    async def answer() -> tuple[Any, str | None]:
        try:
            return await load(), None
        except TradingError as error:
            return None, str(error)

    return await visit.rooms.feed.get(key, answer, least_age_s=60.0)


def _whole(document: dict[str, object], run_id: str) -> None:
    with element("div", "grid"):
        with card(shown.heading(document), "w8") as (_, tools):
            with tools:
                link = element("a", "btn small primary", "Open the report")
                link.props(f"href=/backtests/{run_id}/report target=_blank rel=noopener")
            Chart("Equity against the benchmark", "chart-m").show(shown.curve(document))
        with card("Doubts", "w4"):
            Table("Doubts", shown.DOUBTS, empty="None.", searchable=False).show(
                shown.doubts(document)
            )
        for title, rows in shown.figures(document):
            with card(title, "w4"):
                Table(title, shown.FIGURES, empty="None.", searchable=False).show(rows)
        with card("Trades"):
            Table("Trades", shown.TRADES, empty="No trade was closed.").show(shown.trades(document))


def _run(visit: Visit) -> None:
    async def do(given: dict[str, str]) -> str:
        names = given.pop("params")
        desk: Backtests = visit.rooms.backtests
        desk.start({**given, **({"param": names} if names else {})})
        visit.rooms.feed.wake()
        return "The backtest runs; it appears in the list when it is done."

    ask(
        "Run a backtest",
        "With the risk rules of the settings and the bars of the store; docs/backtests.md states every assumption.",
        [
            Asked("strategy", "Strategy", "moving_average"),
            Asked("symbols", "Symbols, e.g. AAPL,MSFT", visit.query.get("symbol", "")),
            Asked("timeframe", "Bars", "1Day", choices=TIMEFRAMES),
            Asked("start", "From, e.g. 2024-01-02", required=False),
            Asked("end", "Until", required=False),
            Asked("params", "A parameter, e.g. short_window=10", required=False),
        ],
        do,
        yes="Run",
    )


def _plain(text: str) -> str:
    return "".join(c for c in text if c.isascii() and c.isalnum())[:_LONGEST_ID]
