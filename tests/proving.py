"""The long tests, part by part: what each took, what it measured, and whether all of it holds.

A part is one module of tests marked `prove`, in a process of its own, so that a part that fails, hangs or dies takes no other
with it; the first part is every property test, with many more examples than a submission tries. What failed makes
the whole fail at the end.

    python -m tests.proving                                  # all, as `make prove`
    python -m tests.proving tests/browser shared -k pages    # some of it
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

# What is long by itself, or tries so many examples, may take a slow machine an hour.
PATIENCE = "--timeout=3600"
PROPERTIES = ("-m", "hypothesis and not prove", "-n", "auto", "--maxprocesses=4", PATIENCE)
LONG = ("-m", "prove", PATIENCE)
NOTHING_TO_RUN = 5


@dataclass(frozen=True, slots=True)
class Part:
    """Some tests that run together."""

    name: str
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a part; `counts` by pytest's own words."""

    part: Part
    code: int
    took_s: float
    counts: dict[str, int]
    figures: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing in it failed."""
        return self.code in (0, NOTHING_TO_RUN)

    def __str__(self) -> str:
        told = ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
        told = told or (
            "nothing to run" if self.code == NOTHING_TO_RUN else f"exit code {self.code}"
        )
        word = "ok    " if self.holds else "FAILED"
        lines = [f"{word} {self.took_s:6.0f} s  {self.part.name} ({told})"]
        return "\n".join([*lines, *(f"{'':18}{figure}" for figure in self.figures)])


Run = Callable[[Part], Result]


def result_of(part: Part, code: int, took_s: float, report: str) -> Result:
    """Read pytest's JUnit report; an empty one is that of a process which died."""
    if not report:
        return Result(part, code or 1, took_s, {}, ())
    suite = ElementTree.fromstring(report)[0]
    counts = {what: int(suite.get(what, 0)) for what in ("failures", "errors", "skipped")}
    passed = int(suite.get("tests", 0)) - sum(counts.values())
    figures = tuple(
        str(each.get("value")) for each in suite.iter("property") if each.get("name") == "figure"
    )
    return Result(part, code, took_s, {"passed": passed, **counts}, figures)


def prove(parts: Sequence[Part], run: Run, say: Callable[[str], None]) -> bool:
    """Run every part, also after one that failed; tell of all at the end, and whether all hold."""
    results = []
    for number, part in enumerate(parts, 1):
        say(f"\n==== part {number} of {len(parts)}: {part.name}")
        results.append(run(part))
        say(str(results[-1]))
    say("\n==== all parts\n" + "\n".join(str(result) for result in results))
    failed = sum(not result.holds for result in results)
    minutes = sum(result.took_s for result in results) / 60
    say(f"\n{failed} of {len(results)} parts failed, {minutes:.0f} minutes in all")
    return failed == 0


def run_by_pytest(part: Part) -> Result:
    """Run a part in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        began_s = time.monotonic()  # noqa: TID251  # what is told is the machine's time
        code = _pytest(*part.words, "-rfE", f"--junit-xml={report}").returncode
        took_s = time.monotonic() - began_s  # noqa: TID251
        return result_of(part, code, took_s, report.read_text() if report.exists() else "")


def parts_in(places: Sequence[str], chosen: Sequence[str]) -> Iterator[Part]:
    """The parts below `places`, or all, of which `chosen` leaves something."""
    yield Part("every property, at length", (*PROPERTIES, *chosen, *places))
    listed = _pytest("--collect-only", "-q", *LONG, *chosen, *places, stdout=subprocess.PIPE)
    if listed.returncode not in (0, NOTHING_TO_RUN):
        raise SystemExit(f"the long tests cannot be listed:\n{listed.stdout}")
    for module in re.findall(r"^(\S+\.py): \d+$", listed.stdout, re.MULTILINE):
        yield Part(module, (*LONG, *chosen, module))


def _pytest(*words: str, stdout: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *words],
        env={**os.environ, "HYPOTHESIS_PROFILE": "prove"},
        stdout=stdout,
        text=True,
        check=False,
    )


def main(words: Sequence[str]) -> int:
    """Prove what was asked for: 0 when all of it holds, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="make prove", description=__doc__)
    parser.add_argument("places", nargs="*", help="folders or modules; all by default")
    parser.add_argument("-k", dest="names", help="only tests whose names match, as pytest's -k")
    given = parser.parse_args(words)
    chosen = () if given.names is None else ("-k", given.names)
    parts = [*parts_in(given.places, chosen)]
    return 0 if prove(parts, run_by_pytest, lambda line: print(line, flush=True)) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
