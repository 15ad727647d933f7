"""Small pieces: cards, figures, buttons, chips, tabs. Each says text, never markup."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from nicegui import ui
from nicegui.element import Element

from dashboard.shown.texts import DASH, Cell
from shared.domain.symbols import Symbol, parse_symbol

_LONGEST_SYMBOL = 16
_TONES = ("good", "bad", "warn", "muted", "accent")


def element(tag: str, classes: str = "", text: str | None = None) -> Element:
    """A plain element; `text` is shown as it is."""
    made = ui.element(tag)
    if classes:
        made.classes(classes)
    if text is not None:
        made._text = text  # what a label does for its own tag
    return made


def say(where: Element, text: str, tone: str = "") -> None:
    """Show `text` in place of what stood there; nothing is sent when nothing changed."""
    if where._text != text:
        where._text = text
        where.update()
    wanted = f"k-{tone}" if tone else ""
    others = " ".join(f"k-{each}" for each in _TONES if each != tone)
    where.classes(add=wanted, remove=others)


def show_if(where: Element, *, visible: bool) -> None:
    """Show or hide an element."""
    if visible:
        where.classes(remove="hidden")
    else:
        where.classes(add="hidden")


@contextmanager
def card(title: str, width: str = "w12", note: str = "") -> Iterator[tuple[Element, Element]]:
    """A titled panel; gives the place for a note and the place for tools beside the title."""
    with element("section", f"card {width}").props(f'aria-label="{title}"'):
        with element("header"):
            element("h2", text=title)
            said = element("span", "note", text=note)
            tools = element("div", "tools")
        yield said, tools


def button(
    text: str, on_click: Callable[[], Any], kind: str = "", label: str | None = None
) -> Element:
    """A button; `label` is what it is called where the text alone does not say it."""
    made = element("button", f"btn {kind}".strip(), text).props("type=button")
    if label:
        made.props["aria-label"] = label
    made.on("click", lambda _: on_click())
    return made


def icon_button(icon: str, label: str, on_click: Callable[[], Any], kind: str = "") -> Element:
    """A button that shows an icon; `label` is read out and shown on hovering."""
    made = element("button", f"btn ghost icon {kind}".strip()).props("type=button")
    made.props["aria-label"] = label
    made.props["title"] = label
    with made:
        ui.icon(icon).props("aria-hidden=true")
    made.on("click", lambda _: on_click())
    return made


def symbol_input(value: str, on_change: Callable[[], Any], label: str = "Symbol") -> ui.input:
    """A field for one symbol; `on_change` is called when it was filled in or emptied."""
    field = ui.input(label, value=value.upper()[:_LONGEST_SYMBOL]).classes("pick")
    field.props(f"outlined dense maxlength={_LONGEST_SYMBOL} autocomplete=off")
    field.on("keydown.enter", lambda _: on_change())
    field.on("blur", lambda _: on_change())
    return field


def symbol_of(field: ui.input) -> Symbol | None:
    """The symbol in the field; None where it is empty.

    Raises:
        InvalidInput: it cannot be a symbol.
    """
    typed = str(field.value or "").strip().upper()
    return parse_symbol(typed) if typed else None


class Stats:
    """A strip of figures with their units."""

    def __init__(self, figures: Sequence[tuple[str, str, str]]) -> None:
        """`figures`: key, label, unit of each."""
        self._places: dict[str, tuple[Element, Element]] = {}
        with element("div", "stats"):
            for key, label, unit in figures:
                with element("div", "stat"):
                    with element("div", "label"):
                        element("span", text=label)
                        if unit:
                            element("span", "unit", text=unit)
                    self._places[key] = (
                        element("div", "value", text=DASH),
                        element("div", "sub", text=""),
                    )

    def show(self, cells: dict[str, Cell]) -> None:
        """Show these figures."""
        for key, cell in cells.items():
            value, sub = self._places[key]
            say(value, cell.text, cell.tone)
            say(sub, cell.sub)


class Facts:
    """Names and what they are, below each other."""

    def __init__(self, names: Sequence[tuple[str, str]]) -> None:
        self._places: dict[str, Element] = {}
        with element("dl", "facts-list"):
            for key, label in names:
                element("dt", text=label)
                self._places[key] = element("dd", text=DASH)

    def show(self, cells: dict[str, Cell]) -> None:
        """Show these."""
        for key, cell in cells.items():
            say(
                self._places[key],
                cell.text if not cell.sub else f"{cell.text} · {cell.sub}",
                cell.tone,
            )


class Tabs:
    """A choice of one among few, as buttons that are pressed or not."""

    def __init__(
        self, label: str, choices: Sequence[tuple[str, str]], on_choose: Callable[[str], Any]
    ) -> None:
        self.chosen = choices[0][0]
        self._on_choose = on_choose
        self._buttons: dict[str, Element] = {}
        group = element("div", "tabs").props("role=group")
        group.props["aria-label"] = label
        with group:
            for key, text in choices:
                self._buttons[key] = button(text, lambda key=key: self._choose(key))  # type: ignore[misc]
        self._press()

    def _choose(self, key: str) -> Any:
        self.chosen = key
        self._press()
        return self._on_choose(key)

    def _press(self) -> None:
        for key, each in self._buttons.items():
            each.props["aria-pressed"] = "true" if key == self.chosen else "false"
            each.update()
