"""A chart on the screen; what it draws is decided in `shown.charts`."""

from __future__ import annotations

from typing import Any

from nicegui import ui


class Chart:
    """An ECharts canvas that is told anew only when its figures have changed."""

    def __init__(self, label: str, size: str = "chart-m") -> None:
        self._chart = ui.echart({}, renderer="canvas").classes(size)
        self._chart.props["role"] = "img"
        self._chart.props["aria-label"] = label
        self._told: dict[str, Any] = {}

    def show(self, options: dict[str, Any]) -> None:
        """Draw this."""
        if options != self._told:
            self._told = options
            self._chart.options.clear()
            self._chart.options.update(options)
            self._chart.update()
