"""What surrounds every page: the way to the others, mode and market, notices, and who is logged in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from nicegui import Client, background_tasks, ui
from nicegui.element import Element
from starlette.requests import Request

from dashboard.api import SESSION, THEME_COOKIE
from dashboard.parts import acting
from dashboard.parts.controls import button, element, icon_button, say, show_if
from dashboard.parts.visit import Refresh, Rooms, Visit
from dashboard.service import keep_showing
from dashboard.shown import frame as shown
from dashboard.shown.texts import DASH
from shared.domain.errors import TradingError

HEAD = (
    '<link rel="stylesheet" href="/assets/dashboard.css"><link rel="icon" href="/assets/icon.svg">'
    '<script src="/assets/live.js"></script>'
)
_LOGO = (
    '<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><rect width="24" height="24" rx="6" '
    'fill="currentColor"/><path d="M5 15.5l4-4.5 3.2 3L19 7.5" fill="none" stroke="var(--panel)" '
    'stroke-width="2.2" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)
_THEMES = {"dark": True, "light": False}
_LONGEST_RESPONSE_S = 15.0
_FIRST_LOOK_S = 1.5


@dataclass(frozen=True, slots=True)
class Page:
    """One page: where it is, what it is called, and what builds it. The builder returns what refreshes it."""

    path: str
    title: str
    icon: str
    build: Callable[[Visit], Refresh]
    starts_group: bool = False


def add_pages(rooms: Rooms, pages: list[Page]) -> None:
    """Make all of them reachable."""
    ui.add_head_html(HEAD, shared=True)
    for page in pages:
        _add(rooms, page, pages)


def _add(rooms: Rooms, page: Page, pages: list[Page]) -> None:
    @ui.page(
        page.path,
        title=f"{page.title} · Trading",
        response_timeout=_LONGEST_RESPONSE_S,
        language="en-US",
    )
    async def open_page(request: Request, client: Client) -> None:
        session = request.scope[SESSION]
        visit = Visit(rooms, session, dict(request.query_params))
        ui.dark_mode(_THEMES.get(request.cookies.get(THEME_COOKIE, "")))
        with element("div", "shell"):
            _navigation(page, pages, visit)
            with element("div", "main"):
                strip = _Strip(page, visit)
                with element("main", "content").props("id=content tabindex=-1"):
                    strip.add_notices()
                    refresh_page = page.build(visit)

        def is_open() -> bool:
            # With its session a page's socket is closed, and the page leads to the login.
            if client.is_deleted or not rooms.sessions.lives(session):
                return False
            # Somebody looks at it: that is use, too.
            rooms.sessions.touch(session)
            return True

        # Apart, so that a page that takes its time holds up nobody who must see that trading is halted.
        looks = {"strip": strip.refresh, "page": refresh_page}
        await asyncio.gather(
            *(_first_look(look, partial(strip.trouble, part)) for part, look in looks.items())
        )
        for part, look in looks.items():
            trouble = partial(strip.trouble, part)
            background_tasks.create(
                keep_showing(rooms.feed, look, trouble, is_open), name=f"{part} of {page.path}"
            )


async def _first_look(look: Refresh, trouble: Callable[[str | None], None]) -> None:
    """What is there at once is shown at once; what fails is said above the page."""
    try:
        async with asyncio.timeout(_FIRST_LOOK_S):
            await look()
    except TimeoutError:
        pass  # a slow service keeps its figures waiting, and not the page
    except TradingError as error:
        trouble(str(error))


def _navigation(page: Page, pages: list[Page], visit: Visit) -> None:
    element("a", "skip", "Skip to the page").props("href=#content")
    with element("nav", "nav").props("id=nav popover=auto aria-label=Pages"):
        with element("div", "brand"):
            ui.html(_LOGO, sanitize=False, tag="span").classes("row-of")
            element("span", text="Trading")
        for each in pages:
            if each.starts_group:
                element("div", "gap")
            link = element("a").props(f"href={each.path}")
            if each is page:
                link.props["aria-current"] = "page"
            with link:
                ui.icon(each.icon).props("aria-hidden=true")
                element("span", text=each.title)
        element("div", "foot", f"Logged in as {visit.rights.role}")


class _Strip:
    """The line above the page, and the notices below it."""

    def __init__(self, page: Page, visit: Visit) -> None:
        self._visit = visit
        self._troubles: dict[str, str] = {}
        self._counts: Mapping[str, Any] = {}
        with element("div", "bar"):
            menu = element("button", "btn ghost icon only-narrow").props(
                'type=button popovertarget=nav aria-label="Open the menu"'
            )
            with menu:
                ui.icon("menu").props("aria-hidden=true")
            element("h1", text=page.title)
            with element("div", "facts"):
                self._market = element("span", text="")
                self._mode = element("span", "chip", text=DASH).props("data-test=mode")
                self._health = element("span", "chip", text=DASH)
            if visit.rights.may_halt:
                self._halt = button("Halt", lambda: acting.halt(visit), "danger small")
            if visit.rights.may_operate:
                self._resume = button("Resume", lambda: acting.resume(visit), "small hidden")
            icon_button("contrast", "Change between light and dark", _turn_theme)
            with element("form").props("method=post action=/logout"):
                out = element("button", "btn ghost icon").props(
                    'type=submit aria-label="Log out" title="Log out"'
                )
                with out:
                    ui.icon("logout").props("aria-hidden=true")

    def add_notices(self) -> None:
        """Make the places for notices, at the top of the page."""
        self._trouble = element("div", "banner k-warn hidden").props("role=status")
        with self._trouble:
            element("strong", text="Out of date.")
            self._trouble_text = element("span", text="")
        self._notices: list[tuple[Element, Element, Element]] = []
        for _ in range(5):
            place = element("div", "banner hidden").props("role=status")
            with place:
                self._notices.append((place, element("strong", text=""), element("span", text="")))

    def trouble(self, part: str, why: str | None) -> None:
        """Say why `part` of what is shown is not up to date; None when it is."""
        if why is None:
            self._troubles.pop(part, None)
        else:
            self._troubles[part] = f"{why[:1].upper()}{why[1:]}."
        if self._troubles:
            # Both often fail for the same reason.
            say(self._trouble_text, " ".join(dict.fromkeys(self._troubles.values())))
        show_if(self._trouble, visible=bool(self._troubles))

    async def refresh(self) -> None:
        """Bring the strip up to date; the mode does not wait for what takes longer."""
        await asyncio.gather(self._refresh_mode(), self._refresh_world())

    async def _refresh_world(self) -> None:
        visit = self._visit
        self._counts, market, services = await asyncio.gather(
            visit.rows("counts", visit.midnight()),
            visit.answer_or("scheduler", "/status", 2.0),
            visit.answer_or("scheduler", "/services", 2.0),
        )
        say(self._market, shown.market(market[0], visit.now()))
        health = shown.health_chip(None if services[1] else services[0].get("items", []))
        say(self._health, health.text, health.tone)
        await self._refresh_mode()

    async def _refresh_mode(self) -> None:
        visit = self._visit
        mode, status = await asyncio.gather(visit.rows("mode"), visit.rows("status"))
        chip = shown.mode_chip(mode)
        say(self._mode, chip.text, chip.tone)
        now = mode["mode"] if mode is not None else ""
        if visit.rights.may_halt:
            show_if(self._halt, visible=now != "HALTED")
        if visit.rights.may_operate:
            show_if(self._resume, visible=now in ("HALTED", "REDUCING"))
        told = shown.notices(mode, self._counts, status)
        for index, (place, title, text) in enumerate(self._notices):
            show_if(place, visible=index < len(told))
            if index < len(told):
                say(title, told[index].title)
                say(text, told[index].text)
                place.classes(
                    add=f"k-{told[index].tone}",
                    remove="k-bad" if told[index].tone == "warn" else "k-warn",
                )


def _turn_theme() -> None:
    ui.run_javascript(
        "const dark = !document.body.classList.contains('body--dark');"
        "Quasar.Dark.set(dark);"
        f"document.cookie = '{THEME_COOKIE}=' + (dark ? 'dark' : 'light') + ';path=/;max-age=31536000;samesite=lax';"
    )
