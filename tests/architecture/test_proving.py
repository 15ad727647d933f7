"""What `make prove` tells of its parts."""

from __future__ import annotations

from tests.proving import Part, Result, prove, result_of

REPORT = """<testsuites><testsuite errors="0" failures="{failures}" skipped="1" tests="3" time="7">
<testcase name="t"><properties><property name="figure" value="40 rows a second" /></properties></testcase>
</testsuite></testsuites>"""


def test_a_part_that_fails_or_dies_stops_no_other_and_is_told_with_all_figures_at_the_end() -> None:
    said: list[str] = []
    ends = {
        "good": (0, REPORT.format(failures=0)),
        "bad": (1, REPORT.format(failures=1)),
        "dead": (-9, ""),
        "last": (0, REPORT.format(failures=0)),
    }

    def run(part: Part) -> Result:
        return result_of(part, ends[part.name][0], 60.0, ends[part.name][1])

    assert not prove([Part(name, ()) for name in ends], run, said.append)

    figures = f"\n{'':18}40 rows a second"
    assert said[-2] == (
        "\n==== all parts\n"
        f"ok         60 s  good (2 passed, 1 skipped){figures}\n"
        f"FAILED     60 s  bad (1 passed, 1 failures, 1 skipped){figures}\n"
        "FAILED     60 s  dead (exit code -9)\n"
        f"ok         60 s  last (2 passed, 1 skipped){figures}"
    )
    assert said[-1] == "\n2 of 4 parts failed, 4 minutes in all"
    assert prove([Part("good", ())], run, said.append)
