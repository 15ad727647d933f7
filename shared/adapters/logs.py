"""Where do log lines go, and what may never be in them?

One JSON object per line, to `<service>.log`, to `trading_system.log` that all processes share, and errors to
`error.log`. A file is rotated by whichever process first finds it full, under a lock, by renaming it: a line
another process writes at that moment still lands in the renamed file, so none is lost.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
from collections.abc import Callable, Iterable, MutableMapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import structlog
from pydantic import SecretStr

_MAX_BYTES = 10 * 1024 * 1024
_KEEP = 5
_MASK = "**********"
Event = MutableMapping[str, Any]


class SharedRotatingFile(logging.Handler):
    """Appends whole lines to a file that other processes append to as well."""

    def __init__(self, path: Path, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._path = path
        self._fd = -1
        self._complained = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line with a single append, which the kernel does not mix with others."""
        try:
            line = (self.format(record) + "\n").encode()
            self._reopen_if_moved()
            os.write(self._fd, line)
            if os.fstat(self._fd).st_size > _MAX_BYTES:
                self._rotate()
        except OSError as error:
            self._complain(error)
        else:
            self._complained = False

    def _complain(self, error: OSError) -> None:
        """Say once that lines are lost; the service goes on, since trading needs no log."""
        if not self._complained:
            self._complained = True
            print(
                f"log lines are lost: {self._path} cannot be written ({error.strerror}); make room there",
                file=sys.stderr,
                flush=True,
            )

    def _reopen_if_moved(self) -> None:
        try:
            if self._fd >= 0 and os.path.samestat(os.fstat(self._fd), os.stat(self._path)):
                return
        except FileNotFoundError:
            pass
        # Forgotten before it is closed: where the file cannot be opened, its number is somebody else's by the next line.
        stale, self._fd = self._fd, -1
        if stale >= 0:
            os.close(stale)
        self._fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)

    def _rotate(self) -> None:
        lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT, 0o640)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.stat(self._path).st_size <= _MAX_BYTES:
                return  # another process was quicker
            for n in range(_KEEP - 1, 0, -1):
                older = Path(f"{self._path}.{n}")
                if older.exists():
                    older.replace(f"{self._path}.{n + 1}")
            os.replace(self._path, f"{self._path}.1")
        finally:
            os.close(lock)

    def close(self) -> None:
        """Let the file go."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()


def old_logs(folder: Path, before_at: datetime) -> list[Path]:
    """Rotated files in `folder`, which nobody writes any more, that were last written before `before_at`."""
    rotated = (file for file in folder.glob("*.log.*") if file.suffix != ".lock")
    return sorted(file for file in rotated if file.stat().st_mtime < before_at.timestamp())


def set_up_logging(
    service: str, log_dir: Path, level: str, *, secrets: Iterable[SecretStr | None] = ()
) -> None:
    """Send structlog's and the standard library's records to the three files and to stderr."""
    log_dir.mkdir(parents=True, exist_ok=True)
    redact = _redactor([s.get_secret_value() for s in secrets if s is not None])
    shared_steps: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        lambda _logger, _method, event: {"service": service, **event},
        redact,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared_steps[:-1],
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        # Said outright: a command that set its console up before would go on dropping lines here.
        wrapper_class=structlog.make_filtering_bound_logger(logging.NOTSET),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    as_json = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_steps[:-1],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact,
            structlog.processors.JSONRenderer(
                serializer=lambda event, **_: orjson.dumps(event, default=str).decode()
            ),
        ],
    )
    for_people = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared_steps[:-1],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            redact,
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
        ],
    )
    console = logging.StreamHandler()
    console.setFormatter(for_people)
    handlers: list[logging.Handler] = [console]
    for path, threshold in (
        (log_dir / f"{service}.log", logging.NOTSET),
        (log_dir / "trading_system.log", logging.NOTSET),
        (log_dir / "error.log", logging.ERROR),
    ):
        handler = SharedRotatingFile(path, threshold)
        handler.setFormatter(as_json)
        handlers.append(handler)
    root = logging.getLogger()
    root.handlers = handlers
    root.setLevel(level)
    # Their lines at INFO name every request, with addresses; ours say what matters.
    for noisy in ("httpx", "httpcore", "uvicorn.access", "apscheduler", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_up_console(level: int = logging.WARNING) -> None:
    """Let a command's own log lines from `level` on go to standard error, and to nowhere else.

    Standard output carries a command's results alone.
    """
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(_StandardError()),  # type: ignore[arg-type]
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Standard error as it is when a line is written: loggers are kept, and whoever runs a command may change it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _redactor(values: list[str]) -> Callable[[Any, str, Event], Event]:
    """A step that masks each of `values` wherever it stands, whatever part of an event holds it."""
    # A very short "secret" would mask ordinary words; none of ours is.
    marks = sorted((value for value in values if len(value) >= 6), key=len, reverse=True)

    def mask_text(text: str) -> str:
        for mark in marks:
            text = text.replace(mark, _MASK)
        return text

    def mask(value: Any) -> Any:
        match value:
            case None | bool() | int() | float():
                return value
            case SecretStr():
                return _MASK
            case str():
                return mask_text(value)
            case dict():
                return {mask_text(str(key)): mask(item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [mask(item) for item in value]
            case bytes():
                return mask_text(value.decode(errors="replace"))
            case BaseException():
                return mask_text(f"{type(value).__name__}: {value}")
            case _:
                # As it would be written anyway, and by then nobody would look into it.
                return mask_text(str(value))

    def redact(_logger: Any, _method: str, event: Event) -> Event:
        for key in list(event):
            if not key.startswith("_"):
                event[mask_text(key)] = mask(event.pop(key))
        return event

    return redact
