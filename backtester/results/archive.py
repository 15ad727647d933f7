"""Which backtests were run, and what did they say?

One file per run, named by its id: a line of JSON with what a list shows, a line with the rest, compressed. A file is
written whole or not at all; the same run again takes the place of the first. Only so many runs and bytes are kept, the
newest of them.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from backtester.results.tearsheet import Trials
from shared.adapters.durable_files import DRAFT, OWNER_ONLY, make_folder, whole_file
from shared.domain.errors import InvalidInput, TradingError

MOST_RUNS = 500
MOST_BYTES = 1_000_000_000
# A run's trades beyond this are counted and not kept; its hash holds all of them.
MOST_TRADES = 20_000
# Nothing that was written here has longer lines; what has is not read into memory.
_LONGEST_LINE = 100_000_000
_ENDING = ".json.gz"
_OLD_S = 3_600
# What reading a file raises that was cut off, overwritten or never one of ours.
_UNREADABLE = (OSError, EOFError, ValueError, KeyError, TypeError, zlib.error)
NEWEST = "latest"


class UnknownRun(TradingError):
    """No kept run, or more than one, has that id."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What a list shows of a run."""

    id: str
    ran_at: str
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]
    diagnoses: Mapping[str, int]


@dataclass(frozen=True)
class Archive:
    """The kept runs in `folder`, which is made with the first one."""

    folder: Path

    def keep(self, document: Mapping[str, Any], ran_at: datetime) -> None:
        """Keep `document` (see `Tearsheet.document`) and let the oldest go where there are too many.

        Raises:
            InvalidInput: the folder cannot be written.
        """
        rest = dict(document)
        head = {
            "ran_at": ran_at.isoformat(),
            "manifest": rest.pop("manifest"),
            "summary": rest.pop("summary"),
            "diagnoses": _counted(rest["diagnoses"]),
        }
        rest["trades_left_out"] = max(0, len(rest["trades"]) - MOST_TRADES)
        rest["trades"] = rest["trades"][:MOST_TRADES]
        lines = [json.dumps(part, allow_nan=False, separators=(",", ":")) for part in (head, rest)]
        target = self.folder / _name(head["manifest"])
        try:
            make_folder(self.folder)
            with (
                whole_file(target, mode=OWNER_ONLY) as file,
                # A time in the file would make two files of one run differ.
                gzip.GzipFile(fileobj=file, mode="wb", compresslevel=3, mtime=0) as packed,
            ):
                packed.write("\n".join(lines).encode())
            self._prune()
        except OSError as error:
            raise InvalidInput(
                f"the run cannot be kept in {self.folder}: {error.strerror or error}; make room there or make it "
                "writable"
            ) from error

    def runs(self) -> list[Kept]:
        """Every run that can be read, the newest first."""
        return self.listed()[0]

    def listed(self) -> tuple[list[Kept], list[Path]]:
        """Every run that can be read, the newest first, and the files that cannot."""
        found: list[Kept] = []
        damaged: list[Path] = []
        for path in sorted(self._paths()):
            try:
                found.append(_head(path))
            except _UNREADABLE:
                damaged.append(path)
        return sorted(found, key=lambda kept: kept.ran_at, reverse=True), damaged

    def find(self, given: str) -> Path:
        """The file of the run whose id begins with `given`, or of the newest for `latest`.

        Raises:
            UnknownRun: none, or several.
        """
        if given == NEWEST:
            runs = self.runs()
            if not runs:
                raise UnknownRun("no backtest is kept yet; run one: trader backtest run --help")
            return self.folder / _name(runs[0].manifest)
        matching = [path for path in self._paths() if _id_of(path).startswith(given.lower())]
        exact = [path for path in matching if _id_of(path) == given.lower()]
        if given and len(exact or matching) == 1:
            return (exact or matching)[0]
        if given and matching:
            ids = ", ".join(_id_of(path) for path in matching[:5])
            raise UnknownRun(f"{given[:40]!r} could be {ids}; give more letters of it")
        raise UnknownRun(f"no kept backtest is called {given[:40]!r}; see trader backtest list")

    def document(self, given: str) -> dict[str, Any]:
        """The whole run whose id begins with `given`.

        Raises:
            UnknownRun: none, several, or a file that cannot be read.
        """
        path = self.find(given)
        try:
            with gzip.open(path, "rb") as packed:
                head, rest = (packed.readline(_LONGEST_LINE) for _ in range(2))
            parts: dict[str, Any] = {**json.loads(head), **json.loads(rest)}
        except _UNREADABLE as error:
            raise UnknownRun(
                f"{path} is damaged ({error}); delete it and run that backtest anew"
            ) from error
        return parts

    def trials(self, data_hash: str, but: str) -> list[float]:
        """Sharpe ratios of the other kept runs on the bars of `data_hash`; `but` is the run that asks."""
        return [
            float(kept.summary["sharpe"] or 0.0)
            # Only files on these bars are opened: a full archive must not slow a small run down.
            for kept in _heads(
                path for path in self._paths() if _bars_of(path) == _short(data_hash)
            )
            if kept.manifest["data_hash"] == data_hash and kept.id != but
        ]

    def trials_with(self, data_hash: str, own_id: str, own_sharpe: float | None) -> Trials:
        """All runs on these bars, the one that asks among them."""
        others = self.trials(data_hash, own_id)
        return Trials(len(others) + 1, [*others, own_sharpe or 0.0])

    def _paths(self) -> list[Path]:
        if not self.folder.is_dir():
            return []
        return [
            path
            for path in self.folder.glob(f"*{_ENDING}")
            if not path.name.startswith(".") and path.is_file()
        ]

    def _prune(self) -> None:
        newest = sorted(self._paths(), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        room = MOST_BYTES
        for number, path in enumerate(newest):
            room -= path.stat().st_size
            if number >= MOST_RUNS or (room < 0 and number > 0):
                path.unlink(missing_ok=True)
        # What a killed run left behind; a younger one may still be being written.
        for left in self.folder.glob(f".*{DRAFT}"):
            with suppress(OSError):
                if left.stat().st_mtime < newest[0].stat().st_mtime - _OLD_S:
                    left.unlink()


def _name(manifest: Mapping[str, Any]) -> str:
    return f"{manifest['id']}-{_short(manifest['data_hash'])}{_ENDING}"


def _short(data_hash: str) -> str:
    return data_hash[:8]


def _id_of(path: Path) -> str:
    return path.name.partition("-")[0]


def _bars_of(path: Path) -> str:
    return path.name.removesuffix(_ENDING).partition("-")[2]


def _heads(paths: Iterable[Path]) -> Iterator[Kept]:
    for path in paths:
        # One that cannot be read hides no other; `show` says what is wrong with it.
        with suppress(*_UNREADABLE):
            yield _head(path)


def _head(path: Path) -> Kept:
    with gzip.open(path, "rb") as packed:
        head = json.loads(packed.readline(_LONGEST_LINE))
    return Kept(
        head["manifest"]["id"], head["ran_at"], head["manifest"], head["summary"], head["diagnoses"]
    )


def _counted(diagnoses: list[Mapping[str, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    for diagnosis in diagnoses:
        found[diagnosis["severity"]] = found.get(diagnosis["severity"], 0) + 1
    return found
