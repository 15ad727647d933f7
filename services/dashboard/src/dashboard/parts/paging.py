"""Going through more rows than a page shows: to older ones by cursor, and back to the newest.

The newest page follows what happens; an older one stands still, since its rows end where the page before began.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from nicegui import ui

from dashboard.parts.controls import button, element, show_if

ROWS = 200
# One more is read than shown, which tells whether there are older ones.
READ = ROWS + 1
Rows = list[dict[str, Any]]


class Pager:
    """Two buttons below a table, there only when they lead somewhere."""

    def __init__(self, what: str, on_turn: Callable[[], None]) -> None:
        """`what` the rows are, for whoever hears the page; `on_turn` has it brought up to date."""
        self._on_turn = on_turn
        self._passed: list[Any] = []
        self._older_from: Any = None
        self._place = element("div", "pager hidden")
        with self._place:
            self._newest = button("Newest", self._to_newest, "small", f"Newest {what}")
            self._newer = button("Newer", self._to_newer, "small", f"Newer {what}")
            self._older = button("Older", self._to_older, "small", f"Older {what}")

    @property
    def before(self) -> Any:
        """The cursor that this page begins below; None on the newest page."""
        return self._passed[-1] if self._passed else None

    def reset(self) -> None:
        """Begin anew, since something else is shown."""
        self._passed.clear()

    def page(self, read: Sequence[dict[str, Any]], cursor: Callable[[dict[str, Any]], Any]) -> Rows:
        """The rows of this page out of READ, newest first; `cursor` gives a row's own."""
        shown = list(read[:ROWS])
        self.lead(cursor(shown[-1]) if len(read) > ROWS else None)
        return shown

    def lead(self, older_from: Any) -> None:
        """Lead to what is below the cursor `older_from`, or to nothing older where it is None."""
        self._older_from = older_from
        is_newest = not self._passed
        show_if(self._newest, visible=not is_newest)
        show_if(self._newer, visible=not is_newest)
        show_if(self._older, visible=self._older_from is not None)
        show_if(self._place, visible=not is_newest or self._older_from is not None)

    def words(self, shown: int, what: str) -> str:
        """How many of what are shown, and whether they are the newest."""
        return f"{shown} older {what}" if self._passed else f"the newest {shown} {what}"

    def _to_older(self) -> None:
        if self._older_from is not None:
            self._passed.append(self._older_from)
            self._older_from = None
            self._turn()

    def _to_newer(self) -> None:
        if self._passed:
            self._passed.pop()
            self._turn()

    def _to_newest(self) -> None:
        self._passed.clear()
        self._turn()

    def _turn(self) -> None:
        # Whoever turned the page stands at its end.
        top = f"getHtmlElement({self._place.id}).closest('.card').scrollIntoView()"
        ui.run_javascript(top)
        self._on_turn()
