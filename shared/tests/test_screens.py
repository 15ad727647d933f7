"""A screen is due once in five minutes of open market, in the venue's time."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.screens import screen_due_at
from shared.testing.calendars import a_calendar


@pytest.mark.parametrize(
    ("now", "due_at"),
    [
        ("2026-01-15T14:29:59", None),
        ("2026-01-15T14:30:00", "2026-01-15T14:30:00"),
        ("2026-01-15T14:34:59.999999", "2026-01-15T14:30:00"),
        ("2026-01-15T14:35:00", "2026-01-15T14:35:00"),
        ("2026-01-15T20:59:00", "2026-01-15T20:55:00"),
        ("2026-01-15T21:00:00", None),
        # A half day closes at one in the afternoon.
        ("2025-11-28T17:59:00", "2025-11-28T17:55:00"),
        ("2025-11-28T18:00:00", None),
        ("2026-01-17T15:00:00", None),
    ],
)
def test_the_five_minutes_are_counted_from_the_open(now: str, due_at: str | None) -> None:
    found = screen_due_at(a_calendar(), datetime.fromisoformat(now).replace(tzinfo=UTC))

    assert found == (None if due_at is None else datetime.fromisoformat(due_at).replace(tzinfo=UTC))
