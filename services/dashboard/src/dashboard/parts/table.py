"""A list of rows on the screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui.element import Element
from nicegui.events import GenericEventArguments

from dashboard.shown.texts import Column, Row


class Table(Element, component="table.js"):
    """Rows below headings; sorted and searched in the browser, told anew only when something has changed."""

    def __init__(
        self,
        label: str,
        columns: Sequence[Column],
        *,
        empty: str,
        hint: str = "",
        sort: str = "",
        searchable: bool = True,
        few: bool = False,
        on_act: Callable[[str, str], Any] | None = None,
    ) -> None:
        """`empty` and `hint` say what it means that there are no rows; `sort` is a key, `-key` for falling.

        With `few` it begins with a dozen rows, where other things on the page are looked at first.
        """
        super().__init__()
        self._rows: list[dict[str, Any]] = []
        self._props["columns"] = [column.wire() for column in columns]
        self._props["rows"] = []
        self._props["label"] = label
        self._props["empty"] = empty
        self._props["hint"] = hint
        self._props["sort"] = sort
        self._props["searchable"] = searchable
        self._props["few"] = few
        if on_act is not None:
            act = on_act

            def heard(event: GenericEventArguments) -> Any:
                said = event.args if isinstance(event.args, dict) else {}
                return act(str(said.get("name", ""))[:40], str(said.get("key", ""))[:128])

            self.on("act", heard)

    def show(self, rows: Sequence[Row]) -> None:
        """Show these rows in place of the ones before."""
        told = [row.wire() for row in rows]
        if told != self._rows:
            self._rows = told
            self._props["rows"] = told
            self.update()
