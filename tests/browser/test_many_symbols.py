"""How soon is an event on a page, and what does an open page cost, with five hundred symbols and a hundred positions?"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.sync_api import Browser, expect

from shared.testing.figures import Figure
from tests.browser.conftest import PICTURES, Live, Person, a_stack
from trader.replay.session import ReplayPlan
from trader.runtime.instance import DASHBOARD

pytestmark = [pytest.mark.prove, pytest.mark.timeout(1500)]
Enter = Callable[..., Person]
SYMBOLS, POSITIONS, INSTANTS = 500, 100, 17
FIRST_AT = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
SETTINGS = {
    "STRATEGY_PARAMS": "short_window=1,long_window=2",
    "RISK_MAX_POSITIONS": "400",
    "RISK_MAX_POSITION_SIZE": "0.004",
    "RISK_MAX_PORTFOLIO_RISK": "0.5",
    "RISK_MAX_DAILY_TRADES": "5000",
    "RISK_MAX_ORDERS_PER_MINUTE": "1000",
    "RISK_MAX_CORRELATION": "1.0",
    # Few bars are enough to compare symbols, or nothing would be bought within minutes.
    "RISK_CORRELATION_BARS": "14",
}
IDLE_SHARE, LOOKED_AT_S = 0.05, 30.0


def made_up_bars(file: Path) -> None:
    """Minute bars of SYMBOLS symbols that fall for a while and then rise, each a little differently."""
    lines = ["timestamp,symbol,open,high,low,close,volume"]
    for number in range(SYMBOLS):
        price = 20.0 + number * 7 % 180
        for minute in range(INSTANTS + 40):
            at = FIRST_AT + timedelta(minutes=minute)
            # Entries come over five minutes and not all at once.
            rises = minute >= 10 + number % 5
            step = 0.0001 * (1 + (number * 7 + minute * 13) % 8)
            close = price * (1 + step if rises else 1 - step)
            low, high = min(price, close) * 0.9995, max(price, close) * 1.0005
            lines.append(
                f"{at.isoformat()},S{number:03},{price:.4f},{high:.4f},{low:.4f},{close:.4f},50000"
            )
            price = close
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def live(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("many")
    made_up_bars(folder / "bars.csv")
    plan = ReplayPlan(bars=folder / "bars.csv")
    with a_stack(folder / "home", plan, SETTINGS, within_s=900.0) as stack:
        stack.go_on(INSTANTS)
        yield stack


def now_s() -> float:
    return time.monotonic()  # noqa: TID251  # what is measured is the machine's time


def cpu_s(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(each.cpu_times()[:2]) for each in processes)


def test_an_event_reaches_pages_that_show_a_hundred_positions(
    enter: Enter, live: Live, figure: Figure
) -> None:
    person = enter("read")
    mode = person.page.locator(".bar [data-test=mode]")
    bearer = {"Authorization": f"Bearer {live.token('operate')}"}
    risk = live.instance.url_of("risk_manager")
    held = person.page.locator(".stat", has_text="Positions").locator(".value")
    person.open("/positions")
    expect(held).not_to_have_text("\u2013")
    positions = int(held.inner_text())
    assert positions >= POSITIONS
    took: list[float] = []

    for path in ("/positions", "/"):
        person.open(path)
        expect(mode).to_have_text("active")
        for wanted, what in (("reducing", "reduce"), ("active", "resume")) * 5:
            body: dict[str, Any] = {"reason": "measured"}
            if what == "resume":
                body["version"] = httpx.get(f"{risk}/risk/mode", headers=bearer, timeout=60).json()[
                    "version"
                ]
            answer = httpx.post(f"{risk}/risk/{what}", headers=bearer, json=body, timeout=60)
            answer.raise_for_status()
            began_s = now_s()
            expect(mode).to_have_text(wanted)
            took.append(now_s() - began_s)

    took.sort()
    figure(
        f"{SYMBOLS} symbols, {positions} positions: event to page, seconds, "
        f"median {took[len(took) // 2]:.2f}, worst {took[-1]:.2f}, at a load of {os.getloadavg()[0]:.0f}"
    )
    person.page.screenshot(path=PICTURES / "many-positions-1440-light.png")


@pytest.mark.parametrize("path", ["/", "/positions", "/data", "/charts"])
def test_an_open_page_costs_next_to_nothing_while_nothing_happens(
    enter: Enter, live: Live, path: str, figure: Figure
) -> None:
    person = enter("read")
    person.open(path)
    person.page.wait_for_timeout(3_000)
    dashboard = psutil.Process(live.replay.stack.state_of(DASHBOARD).pid or 0)
    browser = [
        each
        for each in psutil.process_iter(["cmdline"])
        if "--type=renderer" in (each.info["cmdline"] or [])
    ]

    began_s, server, tab = now_s(), cpu_s([dashboard]), cpu_s(browser)
    person.page.wait_for_timeout(LOOKED_AT_S * 1000)
    for_s = now_s() - began_s
    server_share = (cpu_s([dashboard]) - server) / for_s
    tab_share = (cpu_s(browser) - tab) / for_s

    figure(
        f"{path}: idle, of one core: dashboard {server_share:.1%}, browser's page {tab_share:.1%}"
    )
    assert server_share < IDLE_SHARE
    assert tab_share < IDLE_SHARE
