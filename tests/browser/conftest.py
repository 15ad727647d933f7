"""A live stack with a little history, and a real browser; skipped with one line where there is no browser."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Error,
    Page,
    Playwright,
    expect,
    sync_playwright,
)

from trader.replay.rest import Phase
from trader.replay.session import Replay, ReplayPlan, open_replay
from trader.runtime.instance import DASHBOARD, Instance
from trader.runtime.places import project_folder
from trader.runtime.stack import LocalStack

# Pictures of every page, for people to look at; git leaves the folder alone.
PICTURES = project_folder() / "reports" / "browser"
KNOWN = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL_WITHIN_S = 90
# Crossings come within a few bars, so that a short session has orders of every kind.
SETTINGS = {"STRATEGY_PARAMS": "short_window=2,long_window=4"}
INSTANTS = 12


# A machine that runs everything at once may take its time.
expect.set_options(timeout=30_000)


@dataclass
class Live:
    """A running stack, and a way to let it go on."""

    replay: Replay
    instance: Instance
    url: str
    run: Callable[[Coroutine[Any, Any, Any]], Any]

    def token(self, role: str) -> str:
        return self.instance.settings[f"API_TOKEN_{role.upper()}"]

    def go_on(self, instants: int) -> None:
        """Let so many more bars come."""
        until = self.replay.instants + instants
        self.run(
            self.replay.run(
                until=lambda step: step.phase is Phase.CLOSE and self.replay.instants >= until
            )
        )


# Of the module and not of the session: while Playwright runs, its event loop is the thread's, and no other
# test of this process could start one.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = _launched(playwright)
        yield browser
        browser.close()


def _launched(playwright: Playwright) -> Browser:
    found = next((path for name in KNOWN if (path := shutil.which(name))), None)
    if found is None and not Path(playwright.chromium.executable_path).exists():
        found = _installed(playwright)
    try:
        return playwright.chromium.launch(
            executable_path=found, args=["--no-sandbox", "--disable-gpu"]
        )
    except Error as error:
        pytest.skip(f"no browser: {found or 'Chromium'} does not start ({error.message[:80]!r})")


def _installed(playwright: Playwright) -> str:
    command = [sys.executable, "-m", "playwright", "install", "chromium"]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=INSTALL_WITHIN_S)
    except subprocess.TimeoutExpired:
        pytest.skip("no browser: there is no Chromium, and it could not be downloaded in time")
    if done.returncode != 0 or not Path(playwright.chromium.executable_path).exists():
        pytest.skip("no browser: there is no Chromium, and it could not be downloaded")
    return playwright.chromium.executable_path


@pytest.fixture(scope="module")
def live(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One stack for all tests of a module, some bars into a session."""
    with a_stack(tmp_path_factory.mktemp("live"), ReplayPlan(), SETTINGS) as stack:
        stack.go_on(INSTANTS)
        yield stack


@contextmanager
def a_stack(
    folder: Path, plan: ReplayPlan, settings: dict[str, str], within_s: float = 180.0
) -> Iterator[Live]:
    """A stack with its dashboard, before its first bar."""
    instance = Instance.create(folder)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="stack", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(timeout=within_s)

    resources = AsyncExitStack()
    try:
        replay = run(resources.enter_async_context(open_replay(instance, plan, settings=settings)))
        replay.stack.start_programs([DASHBOARD])
        yield Live(replay, replay.stack.instance, instance.url_of(DASHBOARD), run)
    finally:
        run(resources.aclose())
        LocalStack(instance).remove()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout=10)
        loop.close()


@dataclass
class Person:
    """Somebody at a browser, logged in, and what went wrong there meanwhile."""

    page: Page
    live: Live
    complaints: list[str]

    def open(self, path: str) -> None:
        self.page.goto(self.live.url + path)
        self.page.locator(".bar h1").wait_for()


@pytest.fixture
def enter(live: Live, chromium: Browser) -> Iterator[Callable[..., Person]]:
    """Log somebody in: `enter("read")`, `enter("admin", width=390, scheme="dark")`."""
    contexts: list[BrowserContext] = []

    def entered(role: str, width: int = 1440, scheme: Any = "light") -> Person:
        context = chromium.new_context(
            viewport={"width": width, "height": 900 if width > 500 else 844}, color_scheme=scheme
        )
        contexts.append(context)
        context.set_default_timeout(20_000)
        page, complaints = context.new_page(), list[str]()
        page.on("pageerror", lambda error: complaints.append(f"script failed: {error}"))
        page.on(
            "console",
            lambda said: (
                complaints.append(f"console: {said.text}") if said.type == "error" else None
            ),
        )
        page.on(
            "request",
            lambda asked: (
                None
                if asked.url.startswith((live.url, live.url.replace("http", "ws"), "data:"))
                else complaints.append(f"asked elsewhere: {asked.url}")
            ),
        )
        page.on("dialog", lambda dialog: complaints.append(f"a dialog opened: {dialog.message}"))
        page.goto(live.url + "/login")
        page.get_by_label("Access token").fill(live.token(role))
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(live.url + "/")
        page.locator(".bar h1").wait_for()
        return Person(page, live, complaints)

    yield entered
    for context in contexts:
        context.close()
