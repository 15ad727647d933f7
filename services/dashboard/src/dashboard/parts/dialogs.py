"""Nothing is done at one click: a person is asked first, says why, and reads what became of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nicegui import ui

from dashboard.parts.controls import element, say, show_if
from shared.domain.errors import TradingError

LONGEST_TEXT = 500


@dataclass(frozen=True, slots=True)
class Asked:
    """One thing to be filled in; with `choices` it is chosen among them."""

    key: str
    label: str
    value: str = ""
    hint: str = ""
    choices: tuple[str, ...] = ()
    required: bool = True


REASON = Asked("reason", "Reason", hint="Stored with the change, for whoever reads it later.")


def ask(
    title: str,
    text: str,
    wanted: Sequence[Asked],
    do: Callable[[dict[str, str]], Awaitable[str]],
    *,
    yes: str,
    is_danger: bool = False,
) -> None:
    """Ask, do it, and say how it went. `do` gets what was filled in and returns a sentence."""
    fields: dict[str, ui.input | ui.select] = {}
    with ui.dialog() as dialog, ui.card().classes("ask"):
        element("h2", text=title)
        if text:
            element("p", "note", text=text)
        for each in wanted:
            if each.choices:
                fields[each.key] = ui.select(
                    list(each.choices), value=each.value or each.choices[0], label=each.label
                ).props("outlined dense options-dense")
            else:
                fields[each.key] = ui.input(each.label, value=each.value).props(
                    f"outlined dense maxlength={LONGEST_TEXT}"
                )
                if each.hint:
                    fields[each.key].props["hint"] = each.hint
        refused = element("p", "refused hidden", text="").props("role=alert")
        busy = False

        async def confirm() -> None:
            nonlocal busy
            given = {key: str(field.value or "").strip() for key, field in fields.items()}
            lacking = [each.label for each in wanted if each.required and not given[each.key]]
            if lacking:
                say(refused, f"{', '.join(lacking)}: fill this in.")
                show_if(refused, visible=True)
                return
            if busy:
                return
            busy = True
            proceed.props["disabled"] = True
            proceed.update()
            try:
                done = await do(given)
            except TradingError as error:
                say(refused, str(error))
                show_if(refused, visible=True)
                return
            finally:
                busy = False
                proceed.props.pop("disabled", None)
                proceed.update()
            dialog.close()
            ui.notify(done, type="positive", position="top-right")

        with element("div", "acts"):
            element("button", "btn", "Cancel").props("type=button").on("click", dialog.close)
            kind = "btn danger solid" if is_danger else "btn primary"
            proceed = element("button", kind, yes).props("type=button").on("click", confirm)
        for field in fields.values():
            field.on("keydown.enter", confirm)
    dialog.on("hide", dialog.delete)
    dialog.open()
