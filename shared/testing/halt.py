"""A halt switch that a test throws."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class FakeHalt:
    """See `ports.HaltSwitch`; counts how often it was looked at."""

    thrown: str | None = None
    looks: int = 0

    def note(self) -> str | None:
        self.looks += 1
        return self.thrown

    def throw(self, note: str) -> None:
        self.thrown = self.thrown or note
