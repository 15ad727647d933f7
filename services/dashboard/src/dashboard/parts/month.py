"""A month of the exchange's calendar on the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

from nicegui.element import Element

from dashboard.parts.controls import card, element, icon_button, say
from dashboard.shown import calendar


class Month:
    """Seven columns of days; the person chooses the month."""

    def __init__(self, width: str, on_choose: Callable[[], Any]) -> None:
        """`on_choose` is called when another month was chosen."""
        self._on_choose = on_choose
        self._chosen: tuple[int, int] | None = None
        self._fields: list[tuple[Element, Element, Element]] = []
        with card("Calendar", width) as (note, tools):
            self._note = note
            with tools:
                icon_button("chevron_left", "The month before", lambda: self._turn(-1))
                icon_button("today", "The present month", self._back)
                icon_button("chevron_right", "The next month", lambda: self._turn(1))
            self._table = element("table", "month").props("aria-label=Calendar")
            with self._table:
                with element("thead"), element("tr"):
                    for name in calendar.WEEKDAYS:
                        element("th", text=name).props("scope=col")
                with element("tbody"):
                    for _ in range(calendar.WEEKS):
                        with element("tr"):
                            for _ in calendar.WEEKDAYS:
                                self._field()

    def month(self, today: date) -> tuple[int, int]:
        """Year and month to be shown."""
        self._present = (today.year, today.month)
        return self._chosen or self._present

    def show(self, items: Sequence[Mapping[str, Any]], today: date) -> None:
        """Show these days."""
        title = calendar.title_of(*self.month(today))
        say(self._note, f"{title}: {calendar.sentence(items)}" if items else title)
        for (place, number, text), day in zip(
            self._fields, calendar.fields(items, today), strict=True
        ):
            say(number, day.number)
            say(text, day.text, day.tone)
            place.classes(
                add="today" if day.is_today else "", remove="" if day.is_today else "today"
            )

    def _field(self) -> None:
        with element("td") as place:
            number, text = element("span", "on", ""), element("small", text="")
        self._fields.append((place, number, text))

    def _turn(self, by: int) -> None:
        self._chosen = calendar.shifted(*(self._chosen or self._present), by)
        self._on_choose()

    def _back(self) -> None:
        self._chosen = None
        self._on_choose()
