"""What may a person be told of while nobody is looking?

Each event has a usual priority and is told or not; the settings change both. The names are those of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class Event(StrEnum):
    """What happened."""

    FILL = "fill"
    STOP_HIT = "stop_hit"
    REJECTED = "rejected"
    UNKNOWN_ORDER = "unknown_order"
    MODE = "mode"
    LIMIT_NEAR = "limit_near"
    DIFFERENCE = "difference"
    PROVIDER_DOWN = "provider_down"
    SERVICE_DOWN = "service_down"
    JOB_FAILED = "job_failed"
    DIGEST = "digest"


class Manner(StrEnum):
    """How an event is told: aloud, without a sound, or not at all."""

    ON = "on"
    SILENT = "silent"
    OFF = "off"


class Priority(IntEnum):
    """As Gotify counts: from 4 on a phone makes a sound, from 8 on it insists."""

    LOW = 0
    NORMAL = 5
    HIGH = 8
    URGENT = 10


USUAL: Mapping[Event, tuple[Manner, Priority]] = {
    Event.FILL: (Manner.OFF, Priority.NORMAL),
    Event.STOP_HIT: (Manner.ON, Priority.NORMAL),
    Event.REJECTED: (Manner.ON, Priority.NORMAL),
    Event.UNKNOWN_ORDER: (Manner.ON, Priority.URGENT),
    Event.MODE: (Manner.ON, Priority.URGENT),
    Event.LIMIT_NEAR: (Manner.ON, Priority.NORMAL),
    Event.DIFFERENCE: (Manner.ON, Priority.HIGH),
    Event.PROVIDER_DOWN: (Manner.ON, Priority.NORMAL),
    Event.SERVICE_DOWN: (Manner.ON, Priority.HIGH),
    Event.JOB_FAILED: (Manner.ON, Priority.NORMAL),
    Event.DIGEST: (Manner.SILENT, Priority.LOW),
}
