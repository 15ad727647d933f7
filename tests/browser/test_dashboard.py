"""What a person sees and does in a real browser, on a live local stack."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Route, expect

from dashboard.pages import PAGES
from dashboard.parts.frame import Page
from tests.browser.conftest import PICTURES, Live, Person
from trader.runtime.instance import SIMULATOR

Enter = Callable[..., Person]
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>{{7*7}}"
# What can be reached and says nothing to somebody who hears the page.
NAMELESS = """() => [...document.querySelectorAll("a[href], button, input, select, [role=combobox], [role=img]")]
    .filter(e => e.offsetParent !== null || e.getAttribute("role") === "img")
    .filter(e => !(e.getAttribute("aria-label") || e.innerText || e.labels?.[0]?.innerText || e.title
        || e.closest("label")?.innerText).trim())
    .map(e => e.outerHTML.slice(0, 120))"""
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
ALL_UNWELL = """() => document.querySelectorAll(".bar .facts .chip").forEach(chip => chip.textContent =
    "data collector, strategy engine, risk manager, trade executor, scheduler, dashboard unwell")"""
# Each page has one look in `make test`, and all four in `make prove`.
LOOKS = [(1440, "light"), (390, "dark"), (1440, "dark"), (390, "light")]


def picture(person: Person, name: str) -> None:
    PICTURES.mkdir(parents=True, exist_ok=True)
    person.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)


def look_at(pages: Sequence[Page], person: Person, width: int, scheme: str) -> None:
    for page in pages:
        person.open(page.path)
        expect(person.page.locator(".bar h1")).to_have_text(page.title)
        # The first figures have come, and nothing stands over the edge of the screen.
        expect(person.page.locator(".bar [data-test=mode]")).to_have_text("active")
        assert person.page.evaluate(NAMELESS) == [], f"{page.path} has controls without a name"
        picture(person, f"{page.title.split()[0].lower()}-{width}-{scheme}")
        # However many services are unwell at the time, which a busy machine decides.
        person.page.evaluate(ALL_UNWELL)
        over = person.page.evaluate(TOO_WIDE)
        assert over <= 0, f"{page.path} is {over} px too wide at {width} px"
    assert person.complaints == []


@pytest.mark.parametrize(
    ("width", "scheme", "pages"), [(*LOOKS[0], PAGES[::2]), (*LOOKS[1], PAGES[1::2])]
)
def test_every_page_opens_fits_the_screen_and_asks_nobody_else(
    enter: Enter, width: int, scheme: str, pages: Sequence[Page]
) -> None:
    look_at(pages, enter("admin", width, scheme), width, scheme)


@pytest.mark.prove
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_every_page_is_usable_on_a_phone_and_a_desk_in_light_and_dark(
    enter: Enter, width: int, scheme: str
) -> None:
    look_at(PAGES, enter("admin", width, scheme), width, scheme)


def test_a_wrong_token_is_refused_and_a_page_leads_back_to_where_one_wanted(
    live: Live, chromium: Browser
) -> None:
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{live.url}/risk")
    page.get_by_label("Access token").fill("not-a-token")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("This token is not known here.")

    page.goto(f"{live.url}/risk")
    page.get_by_label("Access token").fill(live.token("read"))
    page.get_by_role("button", name="Log in").click()

    expect(page.locator(".bar h1")).to_have_text("Risk")
    context.close()


def test_who_may_only_look_sees_no_button_that_acts(enter: Enter) -> None:
    person = enter("read")
    acting = re.compile(
        r"^(halt|resume|only exits|close|cancel|change|release|let go|run|fetch|compare now|acknowledge|new order|turn on)",
        re.IGNORECASE,
    )

    found = {}
    for page in PAGES:
        person.open(page.path)
        expect(person.page.locator(".bar [data-test=mode]")).to_have_text("active")
        # Headings are buttons as well; they only sort.
        names = person.page.locator("button.btn").all_inner_texts()
        found[page.path] = [name for name in names if acting.match(name)]

    assert found == {page.path: [] for page in PAGES}


def test_halt_and_resume_ask_first_want_a_reason_and_show_at_once(enter: Enter) -> None:
    person = enter("operate")
    page = person.page
    dialog = page.get_by_role("dialog")
    mode = page.locator(".bar [data-test=mode]")
    person.open("/risk")

    page.locator(".bar").get_by_role("button", name="Halt").click()
    dialog.get_by_role("button", name="Halt trading").click()
    expect(dialog.get_by_role("alert")).to_have_text("Reason: fill this in.")
    dialog.get_by_label("Reason").fill(HOSTILE)
    dialog.get_by_role("button", name="Halt trading").click()
    expect(mode).to_have_text("halted")
    # A dialog that is still fading away has a field of the same name as the next one.
    expect(dialog).to_have_count(0)
    expect(page.locator(".banner.k-bad")).to_contain_text(HOSTILE)
    picture(person, "halted-1440-light")

    page.locator(".bar").get_by_role("button", name="Resume").click()
    dialog.get_by_label("What may leave").click()
    page.get_by_role("option", name="Exits").click()
    dialog.get_by_label("Reason").fill("out of it first")
    picture(person, "resume-1440-light")
    dialog.get_by_role("button", name="Resume trading").click()
    expect(mode).to_have_text("reducing")
    expect(dialog).to_have_count(0)

    page.locator(".bar").get_by_role("button", name="Resume").click()
    dialog.get_by_label("Reason").fill("looked at it")
    dialog.get_by_role("button", name="Resume trading").click()
    expect(mode).to_have_text("active")
    assert person.complaints == []


def test_an_order_leads_to_its_whole_chain(enter: Enter) -> None:
    person = enter("read")
    page = person.page
    person.open("/orders")

    page.get_by_role("table", name="Orders", exact=True).locator("tbody a").first.click()
    expect(page.get_by_role("table", name="At the broker")).to_be_visible()
    page.get_by_role("link", name="Why?").click()

    steps = page.get_by_role("table", name="From the bar to the result")
    expect(steps).to_contain_text("Signal")
    expect(steps).to_contain_text("Fill")
    expect(page.get_by_role("table", name="Every check")).to_contain_text("passed")
    picture(person, "chain-1440-light")
    assert person.complaints == []


def test_hostile_text_is_shown_as_the_text_that_it_is(enter: Enter, live: Live) -> None:
    person = enter("admin")
    page = person.page
    bearer = {"Authorization": f"Bearer {live.token('admin')}"}
    risk = live.instance.url_of("risk_manager")
    version = httpx.get(f"{risk}/risk/limits", headers=bearer, timeout=60).json()["version"]
    httpx.post(
        f"{risk}/risk/limits",
        headers=bearer,
        timeout=60,
        json={"changes": {"max_positions": 19}, "version": version, "reason": HOSTILE},
    ).raise_for_status()

    for path in ("/risk", "/logs"):
        person.open(path)
        expect(page.get_by_text(HOSTILE).first).to_be_visible()
    for path in ("/orders", "/decisions", "/charts", "/backtests"):
        for query in ("id={0}", "symbol={0}&compare={0}"):
            person.open(f"{path}?{query.format(HOSTILE)}")
    person.open("/orders")
    page.get_by_role("button", name="New order").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Symbol").fill(HOSTILE)
    dialog.get_by_label("Shares").fill(HOSTILE)
    dialog.get_by_role("button", name="Send to risk").click()
    expect(dialog.get_by_role("alert")).to_contain_text("symbol")

    assert not [each for each in person.complaints if "dialog" in each or "elsewhere" in each]


def test_a_limit_is_changed_and_orders_and_positions_are_ended_after_a_second_word(
    enter: Enter, live: Live
) -> None:
    person = enter("admin")
    page = person.page
    dialog = page.get_by_role("dialog")
    bearer = {"Authorization": f"Bearer {live.token('admin')}"}
    executor = live.instance.url_of("trade_executor")
    position = httpx.get(f"{executor}/positions", headers=bearer, timeout=60).json()["items"][0]
    below = f"{float(position['average_price']) * 0.9:.2f}"

    person.open("/risk")
    limits = page.get_by_role("table", name="Limits that may be changed")
    limit = limits.locator("tr", has_text="Max position size")
    limit.get_by_role("button", name="Change").click()
    dialog.get_by_label("New value").fill("0.07")
    dialog.get_by_role("button", name="Change the limit").click()
    expect(dialog.get_by_role("alert")).to_have_text("Reason: fill this in.")
    dialog.get_by_label("Reason").fill("a quiet week")
    dialog.get_by_role("button", name="Change the limit").click()
    expect(limit).to_contain_text("0.0700")

    # With the old limit this one had been refused.
    person.open("/orders")
    page.get_by_role("button", name="New order").click()
    dialog.get_by_label("Symbol").fill(position["symbol"])
    dialog.get_by_label("Shares").fill("1")
    dialog.get_by_role("combobox", name="Type").click()
    page.get_by_role("option", name="limit").click()
    dialog.get_by_label("Limit or stop price").fill(below)
    dialog.get_by_role("button", name="Send to risk").click()
    mine = page.get_by_role("table", name="Orders", exact=True).locator("tr", has_text=below)
    mine.get_by_role("button", name="Cancel").click()
    dialog.get_by_role("button", name="Cancel the order").click()
    expect(mine).to_contain_text("canceled")

    person.open("/positions")
    held = page.get_by_role("table", name="Open positions").locator("tbody tr")
    held.get_by_role("button", name="Close").first.click()
    dialog.get_by_role("button", name=f"Close {position['symbol']}").click()
    expect(page.get_by_text("is on its way")).to_be_visible()
    page.get_by_role("button", name="Close everything").click()
    dialog.get_by_label("Reason").fill("leaving for the week")
    dialog.get_by_role("button", name="Close everything").click()
    expect(page.get_by_text("decided.")).to_be_visible()
    live.go_on(1)
    expect(page.get_by_text("Nothing is held.")).to_be_visible()
    assert person.complaints == []


def test_an_event_is_on_the_page_within_a_second(enter: Enter, live: Live) -> None:
    person = enter("read")
    mode = person.page.locator(".bar [data-test=mode]")
    risk = live.instance.url_of("risk_manager")
    bearer = {"Authorization": f"Bearer {live.token('operate')}"}
    person.open("/")
    expect(mode).to_have_text("active")
    took = []

    for wanted, path in (("reducing", "reduce"), ("active", "resume")) * 3:
        body: dict[str, Any] = {"reason": "measured"}
        if path == "resume":
            body["version"] = httpx.get(f"{risk}/risk/mode", headers=bearer, timeout=60).json()[
                "version"
            ]
        httpx.post(f"{risk}/risk/{path}", headers=bearer, timeout=60, json=body).raise_for_status()
        began_s = time.monotonic()  # noqa: TID251  # what is measured is the machine's time
        expect(mode).to_have_text(wanted)
        took.append(time.monotonic() - began_s)  # noqa: TID251

    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "latency.txt").write_text(
        f"event to page, seconds: {', '.join(f'{each:.2f}' for each in took)}\n"
    )


def test_new_bars_reach_an_open_page(enter: Enter, live: Live) -> None:
    person = enter("read")
    person.open("/data")
    rows = person.page.get_by_role("table", name="Newest instants").locator("tbody tr")
    before = rows.first.inner_text()

    live.go_on(2)

    expect(rows.first).not_to_have_text(before)


def test_the_keyboard_reaches_everything_and_escape_leaves_a_dialog(enter: Enter) -> None:
    person = enter("operate")
    page = person.page
    person.open("/")

    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    page.locator(".bar").get_by_role("button", name="Halt").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)

    heading = page.get_by_role("table", name="Newest orders").get_by_role("button", name="Symbol")
    heading.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("table", name="Newest orders").locator("th").nth(1)).to_have_attribute(
        "aria-sort", "ascending"
    )


def test_an_action_is_done_with_the_keyboard_alone_and_one_sees_where_one_is(enter: Enter) -> None:
    person = enter("operate")
    page = person.page
    dialog = page.get_by_role("dialog")
    mode = page.locator(".bar [data-test=mode]")
    person.open("/risk")
    expect(mode).to_have_text("active")
    focused = "document.activeElement.innerText"

    def tab_to(name: str) -> None:
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == name:
                return
        raise AssertionError(f"{name} is not reached with the Tab key")

    tab_to("Only exits")
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    page.keyboard.press("Enter")
    dialog.get_by_label("Reason").focus()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(mode).to_have_text("reducing")
    expect(dialog).to_have_count(0)

    tab_to("Resume")
    page.keyboard.press("Enter")
    dialog.get_by_label("Reason").focus()
    page.keyboard.type("by keyboard")
    tab_to("Resume trading")
    page.keyboard.press("Enter")
    expect(mode).to_have_text("active")


@pytest.mark.prove
def test_a_page_says_why_it_is_out_of_date_and_recovers_when_the_service_is_back(
    enter: Enter, live: Live
) -> None:
    person = enter("operate")
    page = person.page
    person.open("/risk")
    expect(page.locator(".bar [data-test=mode]")).to_have_text("active")
    late = page.locator(".banner", has_text="Out of date.")

    live.replay.stack.stop_programs(["risk_manager"])
    try:
        expect(late).to_contain_text("The risk manager does not run.")
        page.locator(".bar").get_by_role("button", name="Halt").click()
        page.get_by_label("Reason").fill("nobody answers")
        page.get_by_role("button", name="Halt trading").click()
        refused = page.get_by_role("dialog").get_by_role("alert")
        expect(refused).to_contain_text("risk manager does not run")
        page.keyboard.press("Escape")
    finally:
        live.replay.stack.start_programs(["risk_manager"])

    expect(late).to_be_hidden()


@pytest.mark.prove
def test_a_dead_receiver_is_counted_above_every_page_while_trading_goes_on(
    enter: Enter, live: Live
) -> None:
    person = enter("operate")
    page = person.page
    venue, risk = live.instance.url_of(SIMULATOR), live.instance.url_of("risk_manager")
    conductor = {"Authorization": f"Bearer {live.instance.settings['SIMULATOR_ADMIN_TOKEN']}"}
    bearer = {"Authorization": f"Bearer {live.token('operate')}"}
    undelivered = page.locator(".banner", has_text="Undelivered:")
    person.open("/orders")
    dead = {"kind": "status", "count": 10_000, "match": {"method": "POST", "path": "/message"}}
    httpx.post(f"{venue}/admin/faults", json=dead, headers=conductor, timeout=60).raise_for_status()

    try:
        said = {"reason": "nobody hears it"}
        mode = httpx.post(f"{risk}/risk/reduce", json=said, headers=bearer, timeout=60).json()
        said["version"] = mode["version"]
        httpx.post(f"{risk}/risk/resume", json=said, headers=bearer, timeout=60).raise_for_status()
        expect(undelivered).to_contain_text(re.compile(r"Undelivered: \d+ notifications?\."), timeout=60_000)  # fmt: skip
        live.go_on(2)
        picture(person, "undelivered-1440-light")
    finally:
        httpx.delete(f"{venue}/admin/faults", headers=conductor, timeout=60)

    expect(undelivered).to_be_hidden(timeout=120_000)
    person.open("/logs")
    told = page.get_by_role("table", name="What people were told")
    expect(told).to_contain_text("Trading is REDUCING")


def test_the_calendar_turns_to_a_month_with_a_half_day(enter: Enter) -> None:
    person = enter("read")
    page = person.page
    person.open("/jobs")
    month = page.get_by_role("table", name="Calendar", exact=True)
    expect(month.locator("td.today .on")).to_have_text(re.compile(r"^\d+$"))

    # The session is in January 2026; two months before, the day after Thanksgiving closes early.
    for _ in range(2):
        page.get_by_role("button", name="The month before").click()
    expect(month).to_contain_text("09:30-13:00, half-day")
    expect(month.locator("small", has_text="closed")).to_have_count(1)


@pytest.mark.prove
def test_a_chart_draws_what_the_engine_reckons_and_asks_for_another_symbol(enter: Enter) -> None:
    person = enter("read")
    page = person.page
    person.open("/charts?symbol=TSLA")
    note = page.locator(".card header .note").first
    expect(note).to_contain_text("TSLA 1Min")

    page.get_by_role("combobox", name="Indicators").click()
    page.get_by_role("option", name="RSI 14").click()
    page.keyboard.press("Escape")
    page.get_by_label("Symbol").fill("msft")
    page.get_by_label("Symbol").press("Enter")
    expect(note).to_contain_text("MSFT 1Min")
    picture(person, "chart-rsi-1440-light")
    assert person.complaints == []


@pytest.mark.prove
def test_a_symbol_without_an_order_is_told_why(enter: Enter) -> None:
    person = enter("read")
    person.open("/decisions?symbol=AAPL")

    expect(person.page.locator("p.why", has_text="AAPL")).to_be_visible()


def test_another_site_cannot_open_the_socket(enter: Enter, live: Live) -> None:
    person = enter("admin")
    socket = live.url.replace("http", "ws") + "/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    attempt = """url => new Promise(done => {
        const socket = new WebSocket(url);
        socket.onopen = () => done("open"); socket.onerror = () => done("refused");
    })"""
    stranger = person.page.context.new_page()
    stranger.goto("data:text/html,<p>elsewhere</p>")

    assert stranger.evaluate(attempt, socket) == "refused"
    assert person.page.evaluate(attempt, socket) == "open"


def test_logging_out_closes_the_pages_that_are_still_open(enter: Enter, live: Live) -> None:
    person = enter("operate")
    other = person.page.context.new_page()
    other.goto(f"{live.url}/risk")
    # Drawn is not yet connected, and only a connected page can be told.
    other.wait_for_function("() => window.socket && window.socket.connected")

    person.page.get_by_role("button", name="Log out").click()

    expect(person.page.get_by_label("Access token")).to_be_visible()
    expect(other.get_by_label("Access token")).to_be_visible()


def test_a_page_that_is_not_connected_yet_ends_with_the_session_too(
    enter: Enter, live: Live
) -> None:
    person = enter("operate")
    other = person.page.context.new_page()
    drawn = other.request.get(f"{live.url}/risk").text()
    (source,) = re.findall(r'src="(/[^"]*socket\.io\.min\.js)"', drawn)
    script = other.request.get(live.url + source).text()
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    other.route("**/socket.io.min.js", hold)
    with other.expect_request("**/socket.io.min.js"):
        other.goto(f"{live.url}/risk", wait_until="commit")
    expect(other.locator("body")).to_be_attached()

    person.page.get_by_role("button", name="Log out").click()
    expect(person.page.get_by_label("Access token")).to_be_visible()
    held.pop().fulfill(body=script, content_type="text/javascript")

    expect(other.get_by_role("alert")).to_have_text("Your session has ended. Log in again.")


def test_a_backtest_runs_and_its_result_is_kept_and_opened(enter: Enter) -> None:
    person = enter("operate")
    page = person.page
    person.open("/backtests")
    dialog = page.get_by_role("dialog")
    page.get_by_role("button", name="Run a backtest").click()
    dialog.get_by_label("Symbols").fill("AAPL,MSFT")
    dialog.get_by_role("combobox", name="Bars").click()
    page.get_by_role("option", name="1Min").click()
    dialog.get_by_label("A parameter").fill("short_window=2")
    dialog.get_by_role("button", name="Run", exact=True).click()

    kept = page.get_by_role("table", name="Kept runs").locator("tbody a")
    expect(kept.first).to_be_visible(timeout=60_000)
    kept.first.click()
    expect(page.get_by_role("table", name="Doubts")).to_be_visible()
    picture(person, "backtest-1440-light")
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Open the report").click()
    report = opened.value
    expect(report.locator("h1")).to_have_text("moving_average on AAPL, MSFT", timeout=120_000)
    # It drew its charts, in an origin of its own: no cookie of ours is there.
    expect(report.locator(".js-plotly-plot").first).to_be_visible()
    assert report.evaluate("self.origin") == "null"
    report.screenshot(path=PICTURES / "report-1440-light.png")
    assert person.complaints == []
