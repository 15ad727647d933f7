"""What does an open page say when its session ends, or when what stands behind it goes away?"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.conftest import PICTURES, SETTINGS, Live, Person, a_stack
from trader.replay.session import ReplayPlan
from trader.runtime.instance import DASHBOARD, POSTGRES

pytestmark = [pytest.mark.prove, pytest.mark.timeout(600)]
Enter = Callable[..., Person]
SESSION_S = 30
ENDED = "Your session has ended. Log in again."
# What a server that is starting again may take on a machine that does other things as well.
BACK_WITHIN_MS = 90_000


@pytest.fixture(scope="module")
def live(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    settings = {**SETTINGS, "DASHBOARD_SESSION_S": f"{SESSION_S}"}
    with a_stack(tmp_path_factory.mktemp("lost"), ReplayPlan(), settings) as stack:
        stack.go_on(3)
        yield stack


def log_in(page: Page, token: str) -> None:
    page.get_by_label("Access token").fill(token)
    page.get_by_role("button", name="Log in").click()


@pytest.mark.parametrize("width", [1440, 390])
def test_a_page_whose_session_has_ended_says_so_and_comes_back_after_the_login(
    enter: Enter, live: Live, width: int
) -> None:
    person = enter("operate", width)
    page = person.page
    person.open("/risk?x=1")

    expect(page.get_by_role("alert")).to_have_text(ENDED, timeout=(SESSION_S + 30) * 1000)
    page.screenshot(path=PICTURES / f"session-ended-{width}-light.png")
    log_in(page, live.token("operate"))

    page.wait_for_url(f"{live.url}/risk?x=1")
    expect(page.locator(".bar [data-test=mode]")).to_have_text("active")


def test_while_the_dashboard_is_away_a_page_shows_old_figures_as_old_and_takes_no_click(
    enter: Enter, live: Live
) -> None:
    person = enter("operate")
    page = person.page
    person.open("/risk")
    halt = page.locator(".bar").get_by_role("button", name="Halt")
    box = halt.bounding_box()
    assert box is not None
    hit = "([x, y]) => Boolean(document.elementFromPoint(x, y)?.closest('button'))"
    middle = [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2]
    assert page.evaluate(hit, middle)

    live.replay.stack.stop_programs([DASHBOARD])
    try:
        expect(page.get_by_role("alert")).to_contain_text("Not connected. What stands here is from")
        # Out of reach for the mouse and for the keyboard.
        assert not page.evaluate(hit, middle)
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body")
        page.screenshot(path=PICTURES / "not-connected-1440-light.png")
    finally:
        live.replay.stack.start_programs([DASHBOARD])

    # It forgot its sessions when it ended.
    expect(page.get_by_role("alert")).to_have_text(ENDED, timeout=BACK_WITHIN_MS)


def test_a_page_recovers_by_itself_when_postgresql_is_back(enter: Enter, live: Live) -> None:
    person = enter("read")
    page = person.page
    person.open("/orders")
    late = page.locator(".banner", has_text="Out of date.")
    expect(page.locator(".bar [data-test=mode]")).to_have_text("active")

    live.replay.stack.stop_programs([POSTGRES])
    try:
        expect(late).to_contain_text("PostgreSQL", timeout=BACK_WITHIN_MS)
        page.screenshot(path=PICTURES / "no-database-1440-light.png")
    finally:
        live.replay.stack.start_programs([POSTGRES])

    expect(late).to_be_hidden(timeout=BACK_WITHIN_MS)
