"""What a person reads, given the rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.shown import (
    backtests,
    charts,
    data_health,
    frame,
    jobs,
    limits,
    logs,
    orders,
    overview,
    positions,
    reconciliation,
    risk,
    settings,
    signals,
    texts,
)
from dashboard.testing import AT, a_check, a_resting_order, a_wish, an_intent

HOSTILE = "<img src=x onerror=alert(1)>\x1b[31m\x00"


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (texts.money(Decimal("1234567.891")), "1,234,567.89"),
        (texts.money(-5), "\u22125.00"),
        (texts.money(None), texts.DASH),
        (texts.money("NaN"), texts.DASH),
        (texts.money(0), "0.00"),
        (texts.signed(Decimal("12.3")), "+12.30"),
        (texts.price("101.5"), "101.50"),
        (texts.price("0.1234567"), "0.1235"),
        (texts.shares(Decimal("100.000")), "100"),
        (texts.shares(Decimal("0.5")), "0.5"),
        (texts.percent(0.0506), "5.06 %"),
        (texts.signed_percent(-0.1, 0), "\u221210 %"),
        (texts.span(0.0121), "12 ms"),
        (texts.span(119), "119 s"),
        (texts.span(3600), "60 min"),
        (texts.span(None), texts.DASH),
        (texts.day_time(AT), "05 Jan 10:30"),
        (texts.full_time(AT), "2026-01-05 10:30:00 New York"),
        (texts.day_time("2026-01-05T15:30:00Z"), "05 Jan 10:30"),
        (texts.day_time("nonsense"), texts.DASH),
        (texts.title("trade_executor"), "Trade executor"),
    ],
)
def test_a_figure_is_written_in_one_way(shown: str, expected: str) -> None:
    assert shown == expected


@given(st.one_of(st.decimals(), st.floats(), st.integers(), st.text(), st.none()))
def test_no_figure_whatever_it_is_breaks_a_page(value: Any) -> None:
    for write in (texts.money, texts.signed, texts.price, texts.shares, texts.percent, texts.tone):
        assert isinstance(write(value), str)


@given(st.text())
def test_text_from_outside_is_shown_without_what_a_screen_would_obey(text: str) -> None:
    shown = texts.words(text)

    assert shown.isprintable()
    assert len(shown) <= 401


def test_a_cell_that_is_only_text_travels_as_text() -> None:
    assert texts.Cell("100").wire() == "100"
    assert texts.Cell("100", texts.GOOD, sort=100.0).wire() == {"t": "100", "k": "good", "v": 100.0}


def test_an_unknown_state_is_shown_and_not_guessed_at() -> None:
    assert texts.state("NEW_STATE") == texts.Cell(
        "new state", texts.MUTED, chip=True, sort="NEW_STATE"
    )
    assert texts.state("UNKNOWN").tone == texts.BAD


def test_limits_are_ordered_by_how_full_they_are_and_coloured_from_four_fifths_on() -> None:
    rows = limits.rows(
        [
            a_check("GROSS_EXPOSURE", 0.5, 1.0),
            a_check("POSITION_SIZE", 0.051, 0.05, passed=False),
            a_check("PORTFOLIO_RISK", 0.016, 0.02),
        ]
    )

    assert [(row.key, row.cells["share"].text, row.cells["share"].tone) for row in rows] == [
        ("POSITION_SIZE", "102 %", "bad"),
        ("PORTFOLIO_RISK", "80 %", "warn"),
        ("GROSS_EXPOSURE", "50 %", "good"),
    ]


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (0.05, "of equity", "5.00 %"),
        (2537.4, "USD", "2,537 USD"),
        (12.0, "entries a day", "12 entries a day"),
    ],
)
def test_a_limit_is_written_in_its_unit(value: float, unit: str, expected: str) -> None:
    assert limits.amount(value, unit) == expected


def position(symbol: str, quantity: str, value: str | None, gain: str | None) -> Any:
    return {
        "symbol": symbol,
        "quantity": quantity,
        "average_price": "100",
        "last_price": None if value is None else "101",
        "market_value": value,
        "unrealised_pnl": gain,
    }


def test_a_position_shows_the_stop_that_rests_at_the_broker_and_misses_the_one_that_does_not() -> (
    None
):
    protection = positions.by_symbol(
        [a_resting_order("AAPL", "95", None), a_resting_order("AAPL", None, "110")]
    )
    items = [position("AAPL", "10", "1010", "10"), position("MSFT", "5", "505", "5")]

    rows = positions.rows(items, protection, Decimal(10_000), may_close=True)

    assert [(r.cells["stop"].text, r.cells["target"].text) for r in rows] == [
        ("95.00", "110.00"),
        ("none", texts.DASH),
    ]
    assert positions.stats(items, protection)["bare"] == texts.Cell("1", "bad", "MSFT")


def test_a_stop_for_fewer_shares_than_are_held_says_so() -> None:
    protection = positions.by_symbol([a_resting_order("AAPL", "95", None, "4")])

    row = positions.rows([position("AAPL", "10", "1010", "10")], protection, None, may_close=False)[
        0
    ]

    assert (row.cells["stop"].tone, row.cells["stop"].sub) == ("warn", "4 of 10")


def test_what_is_owed_has_its_stop_above_and_its_target_below_and_gains_when_it_is_worth_less() -> (
    None
):
    legs = [
        a_resting_order("AAPL", stop, target, "10", side)
        for side, stop, target in [
            ("buy", "115", None), ("buy", "110", None), ("buy", None, "85"), ("buy", None, "90"),
            # A sale that would open more protects nothing.
            ("sell", "95", None),
        ]
    ]  # fmt: skip
    items = [position("AAPL", "-10", "-950", "50"), position("MSFT", "1", "950", "-30")]

    row = positions.rows(items, positions.by_symbol(legs), Decimal(10_000), may_close=True)[0]

    shown = {name: (cell.text, cell.tone, cell.sub) for name, cell in row.cells.items()}
    assert shown["quantity"] == ("\u221210", "", "short")
    assert (shown["stop"][0], shown["target"][0]) == ("110.00", "90.00")
    assert shown["gain"] == ("+50.00", "good", "+5.00 %")
    assert (shown["value"][0], shown["weight"][0]) == ("\u2212950.00", "\u22129.5 %")
    # Of both sides together, and never of their difference.
    assert positions.stats(items, {})["open"] == texts.Cell("+20.00", "good", "+1.01 %")


def test_an_order_says_whether_it_sells_short_or_buys_back() -> None:
    def said(side: str, purpose: str) -> str:
        order = {**an_intent("FILLED", "10"), "side": side, "purpose": purpose}
        return orders.rows([order], may_cancel=False)[0].cells["side"].text

    assert said("sell", "entry") == "sell short"
    assert [said("buy", purpose) for purpose in ("exit", "protect")] == ["buy back", "buy back"]
    assert (said("buy", "entry"), said("sell", "exit")) == ("buy", "sell")


def test_a_position_without_a_price_is_worth_a_dash_and_not_zero() -> None:
    row = positions.rows([position("AAPL", "10", None, None)], {}, Decimal(1), may_close=False)[0]

    assert (row.cells["value"].text, row.cells["gain"].text) == (texts.DASH, texts.DASH)


def test_only_who_may_act_is_shown_a_button() -> None:
    items = [position("AAPL", "10", "1010", "10")]

    assert positions.rows(items, {}, None, may_close=False)[0].actions == ()
    assert positions.rows(items, {}, None, may_close=True)[0].actions == (("close", "Close"),)
    assert risk.limits({"limits": {"max_positions": 20}}, may_change=False)[0].actions == ()


def test_a_partly_filled_order_says_how_far_it_is() -> None:
    row = orders.rows([an_intent("PARTIAL", "4")], may_cancel=False)[0]

    assert (row.cells["filled"].text, row.cells["filled"].sub) == ("4", "40 %")


def test_hostile_text_arrives_as_the_text_that_it_is() -> None:
    row = orders.rows([an_intent("REJECTED", reason=HOSTILE)], may_cancel=False)[0]

    assert row.cells["reason"].text == "<img src=x onerror=alert(1)> [31m "


def test_what_a_person_must_know_stands_above_every_page_worst_first() -> None:
    mode = {
        "mode": "REDUCING",
        "reason": "drawdown",
        "version": 2,
        "actor": "risk",
        "changed_at": AT,
    }

    told = frame.notices(mode, {"unknown": 2, "differences": 1}, {"state": "READY", "reason": ""})

    assert [(each.title, each.tone) for each in told] == [
        ("2 orders of unknown outcome.", "bad"),
        ("Only exits leave.", "warn"),
        ("1 open difference with the broker.", "warn"),
    ]


def test_undelivered_notifications_are_counted_above_every_page() -> None:
    told = frame.notices(None, {"undelivered": 3}, None)

    assert [each.title for each in told] == ["Undelivered: 3 notifications."]


def test_a_notification_that_did_not_arrive_says_why() -> None:
    row = {
        "number": 1, "event": "stop_hit", "title": HOSTILE, "body": "b", "priority": 5, "state": "WAITING",
        "tries": 2, "error": "no answer", "created_at": AT, "due_at": AT, "sent_at": None,
    }  # fmt: skip

    cells = logs.notices([row])[0].cells

    assert (cells["state"].text, cells["state"].tone, cells["state"].sub) == (
        "waits",
        "warn",
        "2 tries: no answer",
    )
    assert cells["text"].text == "<img src=x onerror=alert(1)> [31m "


def test_one_service_that_is_unwell_is_named() -> None:
    chip = frame.health_chip(
        [
            {"service": "risk_manager", "state": "ready"},
            {"service": "trade_executor", "state": "down"},
        ]
    )

    assert (chip.text, chip.tone) == ("trade executor unwell", "bad")


def mark(worth: str, at: datetime = AT) -> Any:
    return {
        "instant_at": at, "equity": Decimal(worth), "cash": Decimal(5), "drawdown": 0.01,
        "peak_equity": Decimal(worth), "gross_exposure": Decimal(50), "net_exposure": Decimal(50),
    }  # fmt: skip


def test_the_days_result_is_measured_from_where_the_day_began() -> None:
    counts = {"open": 1, "unknown": 0, "signals": 3, "fills": 2, "approved": 2, "refused": 1}

    cells = overview.stats([mark("110")], Decimal(100), counts, {})

    assert (cells["day"].text, cells["day"].sub, cells["day"].tone) == (
        "+10.00",
        "+10.00 %",
        "good",
    )
    assert cells["decisions"].sub == "2 approved, 1 refused"


def test_a_count_that_was_broken_off_says_so() -> None:
    counts = {"signals": 5_001, "fills": 5_000, "approved": 4_000, "refused": 3_000}

    cells = overview.stats([], None, counts, {})

    assert (cells["signals"].text, cells["signals"].sub) == ("5,000+", "5,000 fills")
    assert (cells["decisions"].text, cells["decisions"].sub) == (
        "5,000+",
        "4,000 approved, 3,000 refused",
    )


def test_before_the_first_valuation_nothing_is_invented() -> None:
    cells = overview.stats([], None, {"approved": 0, "refused": 0}, {})

    assert {cells[key].text for key in ("equity", "day", "drawdown", "cash")} == {texts.DASH}


@pytest.mark.parametrize(
    ("limit", "tone"), [(0.15, ""), (0.012, texts.WARN), (0.01, texts.BAD), (None, "")]
)
def test_drawdown_is_coloured_by_the_limit_that_holds(limit: float | None, tone: str) -> None:
    limits = [] if limit is None else [{"code": "DRAWDOWN", "limit": limit, "usage": 0.01}]
    counts = {"approved": 0, "refused": 0}

    cells = overview.stats([mark("110")], Decimal(100), counts, {"limits": limits})

    assert cells["drawdown"].tone == tone


def test_a_long_history_stays_drawable_and_ends_where_it_ends() -> None:
    rows = [mark(str(100 + n), AT + timedelta(minutes=n)) for n in range(5_001)]

    drawn = charts.equity(rows)["series"][0]["data"]

    assert len(drawn) <= charts.MOST_POINTS + 1
    assert drawn[-1] == 5_100.0


def test_a_signal_leads_to_its_decision() -> None:
    assert signals.rows([a_wish()])[0].to == "/decisions?id=sig-1"


def test_a_strategy_that_was_turned_off_can_be_turned_on_by_who_may_operate() -> None:
    strategy = {
        "name": "x", "about": "", "state": "off", "parameters": [], "bars_needed": 1, "failures": 3,
        "last_error": "division by zero", "last_run": None,
    }  # fmt: skip
    answer = {"items": [strategy], "broken": {"bad": "no module"}}

    acting, looking = (signals.strategies(answer, may_resume=may) for may in (True, False))

    assert [row.actions for row in acting] == [(("resume", "Turn on"),), ()]
    assert [row.actions for row in looking] == [(), ()]
    assert acting[1].cells["state"].text == "broken"


def test_a_provider_near_the_end_of_its_budget_is_marked() -> None:
    budget = {
        "provider": "twelve_data", "used": 8, "limit": 8, "window_s": 60, "used_today": 700, "day_limit": 800,
        "blocked_until_at": AT, "blocked_why": "asked for a pause", "waiting": [1],
    }  # fmt: skip

    row = data_health.providers([budget])[0]

    assert [row.cells[key].tone for key in ("window", "day", "waiting")] == ["bad", "warn", "warn"]
    assert row.cells["blocked"].text == "asked for a pause"


def test_an_instant_that_lacks_symbols_says_how_many() -> None:
    rows = [
        {
            "id": n,
            "timeframe": "1Min",
            "end_at": AT,
            "announced_at": AT,
            "symbols": many,
            "decidable": True,
        }
        for n, many in ((2, 5), (1, 3))
    ]

    assert [row.cells["symbols"].sub for row in data_health.batches(rows)] == ["", "2 lacking"]


def test_a_dead_collector_is_shown_as_such() -> None:
    assert data_health.stats({}, 0, AT)["feed"].tone == "bad"


def job(**more: Any) -> Any:
    return {
        "job_id": "reconcile", "description": "Compare.", "schedule": "before the open", "last_run": None,
        "next_due_at": None, "next_in_s": None, "missed": 2, "may_rest": True, "paused": None, **more,
    }  # fmt: skip


def test_a_job_can_be_paused_only_where_the_scheduler_knows_how() -> None:
    plain = jobs.rows([job()], may_run=True)[0]
    paused = jobs.rows(
        [job(paused={"reason": "clock", "actor": "operate", "since_at": AT})], may_run=True
    )[0]

    assert plain.actions == (("run", "Run now"), ("pause", "Pause"))
    assert paused.actions == (("run", "Run now"), ("resume", "Resume"))
    assert jobs.rows([job()], may_run=False)[0].actions == ()
    assert jobs.rows([job(next_in_s=5.0)], may_run=True)[0].actions == plain.actions
    assert jobs.rows([job(may_rest=False)], may_run=True)[0].actions == (("run", "Run now"),)
    assert paused.cells["schedule"].sub == "clock (operate, 05 Jan 10:30)"
    assert plain.cells["missed"].tone == "warn"


def test_an_open_difference_can_be_acknowledged_and_a_closed_one_cannot() -> None:
    def difference(closed: bool) -> Any:
        return {
            "id": 1, "kind": "POSITION", "subject": "AAPL", "symbol": "AAPL", "ours": "10", "theirs": "12",
            "opened_at": AT, "closed_at": AT if closed else None, "closed_by": "token:operate" if closed else None,
        }  # fmt: skip

    found = reconciliation.rows([difference(False), difference(True)], may_acknowledge=True)

    assert [row.actions for row in found] == [(("acknowledge", "Acknowledge"),), ()]


def test_a_log_line_is_shown_with_what_it_holds_and_no_escape() -> None:
    line = {
        "timestamp": "2026-01-05T15:30:00Z",
        "level": "error",
        "service": "risk_manager",
        "event": HOSTILE,
        "order": "x",
    }

    row = logs.rows([line])[0]

    assert row.cells["event"].text == "<img src=x onerror=alert(1)> [31m "
    assert row.cells["event"].sub == "order=x"
    assert row.cells["level"].tone == "bad"


def test_a_secret_is_shown_as_set_and_never_by_its_text() -> None:
    shown = settings.rows(
        [("api_token_read", True, True, False), ("gotify_token", False, True, True)]
    )

    assert [row.cells["value"].text for row in shown] == ["set", "not set"]


def kept_run(run_id: str = "abc") -> Any:
    return {
        "ran_at": AT.isoformat(),
        "manifest": {
            "id": run_id, "strategy": "moving_average", "parameters": {"short_window": 5}, "traded_symbols": ["AAPL"],
            "bar_length": "1Day", "first_on": "2024-01-02", "last_on": "2024-12-31",
        },
        "summary": {"total_return": 0.12, "cagr": 0.11, "max_drawdown": 0.05, "sharpe": 1.234, "trades": 20},
        "diagnoses": {"warning": 1, "caution": 2},
    }  # fmt: skip


def test_a_kept_run_leads_to_its_whole_and_counts_the_doubts() -> None:
    row = backtests.rows([kept_run()])[0]

    assert (row.to, row.cells["return"].text, row.cells["doubts"].text) == (
        "/backtests?id=abc",
        "+12.00 %",
        "3",
    )


def test_compared_runs_show_what_was_asked_differently_and_what_came_out() -> None:
    columns, rows = backtests.comparison(
        {
            "runs": ["a", "b"],
            "differing": {"parameters.short_window": [10, 20]},
            "figures": {"total_return": [0.1, None], "final_equity": [110000.0, 90000.0]},
        }
    )

    assert [column.label for column in columns] == ["Figure", "a", "b"]
    assert [[row.cells[key].text for key in ("name", "r0", "r1")] for row in rows] == [
        ["Short window", "10", "20"],
        ["Total return", "10.00 %", texts.DASH],
        ["Final equity", "110,000.00", "90,000.00"],
    ]


def test_compared_runs_are_drawn_as_growth_from_the_same_line() -> None:
    runs: dict[str, Any] = {
        "r1": {"equity": [{"at": "2026-01-05T21:00:00Z", "equity": 100}, {"at": "2026-01-06T21:00:00Z", "equity": 110}]},
        "r2": {"equity": [{"at": "2026-01-06T21:00:00Z", "equity": "1000"}]},
        "empty": {"equity": []},
    }  # fmt: skip

    drawn = backtests.curves(runs)

    assert drawn["xAxis"]["data"] == ["2026-01-05", "2026-01-06"]
    assert {each["name"]: each["data"] for each in drawn["series"]} == {
        "r1": [0.0, 10.0],
        "r2": [None, 0.0],
    }


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ((None, None, None, None, None), ""),
        (("--x=1", 3.0, None, None, None), "Running for 3 s: --x=1"),
        (("--x=1", None, "no bars", None, 1.0), "Not run: no bars"),
        (("--x=1", None, None, "abc", 5.0), "Kept as abc after 5 s."),
    ],
)
def test_a_run_that_is_under_way_says_so(state: Any, expected: str) -> None:
    assert backtests.progress(*state).text == expected


def test_a_backtests_curve_stands_beside_its_benchmark_where_both_have_a_day() -> None:
    drawn = backtests.curve(
        {
            "equity": [
                {"at": "2024-01-02T21:00:00+00:00", "equity": 1.0},
                {"at": "2024-01-03T21:00:00+00:00", "equity": 2.0},
            ],
            "benchmark": {"name": "holding", "equity": [{"at": "2024-01-03", "equity": 3.0}]},
        }
    )

    assert [each["data"] for each in drawn["series"]] == [[1.0, 2.0], [None, 3.0]]


def test_only_an_open_order_can_be_cancelled_and_only_by_who_may_act() -> None:
    found = [an_intent("ACKED"), an_intent("FILLED", "10")]

    assert [row.actions for row in orders.rows(found, may_cancel=True)] == [
        (("cancel", "Cancel"),),
        (),
    ]
    assert [row.actions for row in orders.rows(found, may_cancel=False)] == [(), ()]


def test_a_symbol_in_doubt_is_shown_with_the_reason() -> None:
    row = {"id": 7, "symbol": "AAPL", "kind": "SPLIT_SUSPECTED", "reason": HOSTILE, "since_at": AT}

    cells = data_health.holds([row], may_release=False)[0].cells

    assert (cells["kind"].text, cells["kind"].tone) == ("Split suspected", "warn")
    assert cells["reason"].text == "<img src=x onerror=alert(1)> [31m "
    assert data_health.holds([row], may_release=False)[0].actions == ()
    assert data_health.holds([row], may_release=True)[0].actions == (("release", "Let go"),)


def test_a_run_of_the_pipeline_tells_how_long_each_stage_took_and_what_came_of_it() -> None:
    stages = [
        {"stage": "collected", "done_at": AT, "took_s": 0.2},
        {"stage": "evaluated", "done_at": AT, "took_s": 3},
    ]
    run = {
        "batch_id": 7, "timeframe": "1Min", "end_at": AT, "symbols": 500, "decidable": False, "stages": stages,
        "signals": 3, "approved": 1, "refused": 2, "orders": 1, "fills": 0,
    }  # fmt: skip

    [row] = jobs.pipeline([run])

    assert row.cells["stages"].text == "collected 200 ms, evaluated 3 s"
    [failed] = jobs.pipeline([{**run, "screening": {"outcome": "failed"}}])
    assert failed.cells["stages"].text == "screener failed, collected 200 ms, evaluated 3 s"
    assert row.cells["stages"].sub == "too late to be decided on"
    assert [row.cells[name].text for name in ("signals", "approved", "refused")] == ["3", "1", "2"]


def test_the_services_are_shown_with_what_they_use_and_a_silent_scheduler_is_named() -> None:
    known = {
        "service": "risk_manager", "state": "ready", "answered_in_s": 0.05, "cpu_share": 0.034,
        "memory_bytes": 150 * 2**20, "detail": "", "checked_at": AT,
    }  # fmt: skip

    [row] = overview.services([known], None, AT)
    [down] = overview.services([], "the scheduler does not run", AT)

    assert (row.cells["cpu"].text, row.cells["memory"].text) == ("3.4 %", "150")
    assert (down.cells["state"].text, down.cells["detail"].text) == (
        "down",
        "the scheduler does not run",
    )


def test_names_of_code_are_written_as_people_write_them() -> None:
    assert [
        texts.title(name) for name in ("trade_executor", "rsi_reversion", "macd", "postgres")
    ] == [
        "Trade executor",
        "RSI reversion",
        "MACD",
        "PostgreSQL",
    ]


def test_what_has_just_happened_is_said_so_and_not_in_milliseconds() -> None:
    ages = [texts.age(AT, AT + timedelta(seconds=seconds)) for seconds in (0, 0.4, 5, 300)]

    assert ages == ["just now", "just now", "5 s ago", "5 min ago"]


def test_a_job_that_failed_says_why_and_one_that_went_well_says_nothing() -> None:
    def outcome(state: str) -> str:
        last = {"state": state, "at": AT, "duration_s": 1.0, "detail": "the executor does not run"}
        job = {
            "job_id": "portfolio_sync", "description": "d", "schedule": "s", "last_run": last,
            "next_in_s": 5.0, "next_due_at": None, "missed": 0,
        }  # fmt: skip
        return jobs.rows([job], may_run=False)[0].cells["state"].sub

    assert (outcome("FAILED"), outcome("DONE")) == ("the executor does not run", "")
