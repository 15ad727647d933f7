"""Is a backtest's report whole on paper?"""

from pathlib import Path

from playwright.sync_api import Browser

from backtester.plan import Plan
from backtester.report.page import page_of
from backtester.results.testing import a_sheet
from backtester.testing import a_market
from strategy_engine.strategies.moving_average import MovingAverage

# A4 less the margins that the page asks for, at 96 pixels an inch.
PAPER = round((210 - 2 * 12) / 25.4 * 96)
WIDEST = """(selector) => Math.max(...[...document.querySelectorAll(selector)].map(
    (each) => each.getBoundingClientRect().width))"""
BEYOND = """(selector) => [...document.querySelectorAll(selector)].filter(
    (each) => each.getBoundingClientRect().right
        > each.closest('.card').getBoundingClientRect().right).length"""


def test_nothing_of_a_report_is_cut_off_on_paper(chromium: Browser, tmp_path: Path) -> None:
    market = a_market(8, 400, 3, minutes=False, wild=0.02, holes=0.05)
    sheet = a_sheet(MovingAverage(short_window=3, long_window=9), market, Plan(slippage_bps=5.0))
    file = tmp_path / "report.html"
    file.write_text(page_of(sheet), encoding="utf-8")
    # Its own policy forbids the evaluation that waiting is made of.
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, bypass_csp=True)
    page.goto(file.as_uri())
    drawn = ".chart svg.main-svg"
    page.wait_for_function(f"({WIDEST})('{drawn}') > {PAPER}")

    # As a browser does: it tells the page, then lays it out for the sheet.
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    page.wait_for_function(f"({WIDEST})('{drawn}') < {PAPER}")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": PAPER, "height": 1000})

    assert page.locator("table").count() > 5
    assert page.evaluate(BEYOND, "table, .blocks dl") == 0
    page.wait_for_function(f"({BEYOND})('{drawn}') === 0")

    page.emulate_media(media="screen")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    page.wait_for_function(f"({WIDEST})('{drawn}') > {PAPER}")
    page.close()
