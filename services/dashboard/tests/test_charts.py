"""What the chart of one symbol draws: marks on their bars, lines below, and where stops stood."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dashboard.shown import candles
from dashboard.testing import AT, a_bar, a_fill, a_resting_order, a_wish, an_intent

SPLIT = {"kind": "split", "ex_on": "2026-01-06", "new_rate": "4", "old_rate": "1"}


def drawn(bars: Any, **other: Any) -> Any:
    parts = {name: other.get(name, []) for name in ("lines", "signals", "fills", "resting", "stood", "actions")}  # fmt: skip
    return candles.options(bars, **parts)


def named(chart: Any) -> Any:
    return {each["name"]: each for each in chart["series"]}


def test_a_fill_stands_on_the_bar_in_which_it_happened_and_a_signal_on_the_bar_that_closed() -> (
    None
):
    bars = [a_bar(n, 100 + n) for n in range(3)]
    at = AT + timedelta(minutes=1)
    filled = {"executed_at": at, "price": Decimal(101), "side": "buy"}

    chart = drawn(bars, signals=[{**a_wish(), "bar_end_at": at}], fills=[filled])

    axis = chart["xAxis"][0]["data"]
    assert named(chart)["Signals"]["data"][0]["value"][0] == axis[0]
    assert named(chart)["Fills"]["data"][0]["value"][0] == axis[1]


@given(second=st.integers(0, 300))
def test_a_fill_anywhere_in_the_view_lies_within_the_bar_it_stands_on(second: int) -> None:
    bars = [a_bar(n, 100) for n in range(5)]
    at = AT + timedelta(seconds=second)

    chart = drawn(bars, fills=[{"executed_at": at, "price": Decimal(100), "side": "buy"}])

    [mark] = named(chart)["Fills"]["data"]
    assert mark["value"][0] == chart["xAxis"][0]["data"][min(second // 60, 4)]


def test_marks_outside_of_the_drawn_bars_are_left_out() -> None:
    early = {**a_wish(), "bar_end_at": AT - timedelta(days=1)}
    late = {**a_wish(), "bar_end_at": AT + timedelta(days=1)}

    assert named(drawn([a_bar(0, 100)], signals=[early, late]))["Signals"]["data"] == []


def test_a_chart_says_from_when_on_its_marks_are_whole_where_older_ones_were_not_read() -> None:
    bars = [a_bar(n, 100) for n in range(5)]
    # Newest first, the oldest of them in the middle of the view.
    read = [{"bar_end_at": AT + timedelta(minutes=3)}] * candles.MOST_MARKS
    oldest = {"bar_end_at": AT + timedelta(minutes=2)}

    said = candles.left_out(bars, [*read, oldest], [], [], [])

    assert said == " · only the newest 400 of each are drawn: before 05 Jan 10:32 some are left out"
    # Whatever was read without reaching an end, or back to before the view, is all there is to draw.
    assert candles.left_out(bars, read, [], [], []) == ""
    assert candles.left_out(bars, [*read, {"bar_end_at": AT}], [], [], []) == ""
    assert candles.left_out([], [*read, oldest], [], [], []) == ""


def test_resting_stops_and_targets_are_lines_with_their_prices() -> None:
    both = [a_resting_order("AAPL", "95", None), a_resting_order("AAPL", None, "110")]

    lines = drawn([a_bar(0, 100)], resting=both)["series"][0]["markLine"]["data"]

    assert [line["label"]["formatter"] for line in lines] == ["stop 95.00", "target 110.00"]


def test_what_is_no_price_is_drawn_in_a_panel_of_its_own_below_the_volume() -> None:
    bars = [a_bar(n, 100) for n in range(2)]
    starts = [bar["start_at"] for bar in bars]
    lines = [
        {"name": "sma20", "title": "SMA 20", "is_price": True, "values": [None, 1.0], "start_at": starts},
        {"name": "rsi14", "title": "RSI 14", "is_price": False, "values": [50.0, 51.0], "start_at": starts},
        {"name": "macd", "title": "MACD", "is_price": False, "values": [0.1], "start_at": starts[1:]},
    ]  # fmt: skip

    chart = drawn(bars, lines=lines)

    panels = {name: each.get("xAxisIndex", 0) for name, each in named(chart).items()}
    assert (panels["SMA 20"], panels["Volume"], panels["RSI 14"], panels["MACD"]) == (0, 1, 2, 3)
    assert len(chart["grid"]) == len(chart["xAxis"]) == len(chart["yAxis"]) == 4
    # A value is drawn at its bar, whatever the line begins with.
    assert named(chart)["MACD"]["data"] == [None, 0.1]
    tops = [float(grid["top"].rstrip("%")) for grid in chart["grid"]]
    ends = [t + float(g["height"].rstrip("%")) for t, g in zip(tops, chart["grid"], strict=True)]
    assert all(end < top for end, top in zip(ends, tops[1:], strict=False))
    assert ends[-1] < 90


def entry(decision: str, stop: str) -> Any:
    return {
        **an_intent("FILLED"),
        "client_order_id": f"c-{decision}",
        "decision_id": decision,
        "stop_loss": Decimal(stop),
    }


def test_a_stop_is_drawn_from_the_entry_to_the_way_out_and_follows_its_moves() -> None:
    fills = [a_fill(1, "buy", "10", "100"), a_fill(2, "sell", "10", "101", "out", minute=4)]
    moves = [
        {"decision_id": "dec-1", "stop_loss": Decimal(97), "decided_at": AT + timedelta(minutes=n)}
        for n in (2, 9)
    ]

    stood = candles.spans([entry("dec-1", "95")], fills, moves, Decimal(0))

    assert [(s.stop, s.from_at, s.to_at) for s in stood] == [
        (Decimal(95), AT, AT + timedelta(minutes=2)),
        (Decimal(97), AT + timedelta(minutes=2), AT + timedelta(minutes=4)),
    ]
    levels = named(drawn([a_bar(n, 97) for n in range(6)], stood=stood))["Stops"]["data"]
    assert levels == [95.0, 95.0, 97.0, 97.0, 97.0, None]


def test_a_stop_far_from_all_drawn_prices_does_not_flatten_them() -> None:
    fills = [a_fill(1, "buy", "10", "100")]
    stood = candles.spans([entry("dec-1", "80")], fills, [], Decimal(10))

    assert set(named(drawn([a_bar(n, 100) for n in range(6)], stood=stood))["Stops"]["data"]) == {
        None
    }
    cells = candles.stats([a_bar(0, 100)], "10", Decimal(80), None)
    assert (cells["stop"].text, cells["stop"].sub) == ("80.00", "\u221220.00 % away")


def test_a_position_that_is_older_than_the_known_fills_does_not_end_by_mistake() -> None:
    # Ten shares were held before; selling ten of twenty leaves the stop where it is.
    fills = [a_fill(7, "buy", "10", "100"), a_fill(8, "sell", "10", "101", "out", minute=4)]

    [span] = candles.spans([entry("dec-1", "95")], fills, [], Decimal(10))

    assert span.to_at is None


def test_what_was_paid_before_a_split_is_drawn_in_todays_shares() -> None:
    filled = {"executed_at": AT, "price": Decimal(400), "side": "buy"}

    chart = drawn([a_bar(0, 100)], fills=[filled], actions=[SPLIT])

    assert named(chart)["Fills"]["data"][0]["value"][1] == 100.0
    dividend = {"kind": "cash_dividend", "ex_on": "2026-01-06", "amount": "1"}
    assert named(drawn([a_bar(0, 100)], fills=[filled], actions=[dividend]))["Fills"]["data"][0]["value"][1] == 400.0  # fmt: skip


def test_a_chart_without_bars_is_empty_and_not_an_error() -> None:
    assert drawn([], signals=[a_wish()])["series"][0]["data"] == []
    assert candles.stats([], None) == {}
