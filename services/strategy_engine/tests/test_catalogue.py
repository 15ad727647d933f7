"""Strategies are found where they lie; no list names them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from shared.domain.signals import Direction
from shared.domain.symbols import Symbol
from shared.domain.timeframes import Timeframe
from strategy_engine.catalogue import USER_FOLDER, discover
from strategy_engine.panels import View
from strategy_engine.parameters import UnknownName
from strategy_engine.strategy import Wish

README = (USER_FOLDER / "README.md").read_text(encoding="utf-8")
SHIPPED = {
    path.stem
    for path in (USER_FOLDER.parent / "strategy_engine" / "strategies").glob("*.py")
    if path.stem != "__init__"
}
EXAMPLE = re.search(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_shipped_strategies_are_found() -> None:
    found = discover()

    assert set(found.strategies) == SHIPPED
    assert found.find("moving_average").name == "moving_average"
    assert found.broken == {}


def test_the_example_of_the_users_folder_is_found_there_and_works(tmp_path: Path) -> None:
    assert EXAMPLE is not None
    (tmp_path / "mine.py").write_text(EXAMPLE.group(1), encoding="utf-8")

    strategy = discover(tmp_path).find("new_high")(window=2)

    prices = np.asarray([100.0, 101.0, 102.0])
    rising = View(Timeframe.DAY, Symbol("AAPL"), prices, prices, prices, prices, prices)
    wish = strategy.generate_signal(rising)
    assert isinstance(wish, Wish)
    assert (wish.direction, wish.figures) == (Direction.LONG, {"highest": 101.0})


def test_an_unknown_strategy_names_the_nearest_one() -> None:
    with pytest.raises(
        UnknownName, match="no strategy 'moving_avarage'; did you mean moving_average"
    ):
        discover().find("moving_avarage")


def test_a_module_that_fails_is_reported_and_hides_no_other(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('half-written')", encoding="utf-8")

    found = discover(tmp_path)

    assert set(found.strategies) == SHIPPED
    assert found.broken == {str(tmp_path / "broken.py"): "RuntimeError: half-written"}
    with pytest.raises(UnknownName, match="RuntimeError: half-written"):
        found.find("mine")


def test_a_file_with_an_underscore_in_front_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "_draft.py").write_text("raise RuntimeError", encoding="utf-8")

    assert discover(tmp_path).broken == {}


def test_what_a_module_merely_imports_is_not_taken_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library, mine = tmp_path / "library", tmp_path / "mine"
    library.mkdir()
    mine.mkdir()
    (library / "bought_strategies.py").write_text(
        "from strategy_engine.strategies.moving_average import MovingAverage\n"
        "class Bought(MovingAverage):\n    pass\n",
        encoding="utf-8",
    )
    (mine / "mine.py").write_text(
        "from bought_strategies import Bought\nclass Mine(Bought):\n    pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(library)

    assert set(discover(mine).strategies) == {"mine", *SHIPPED}


def test_of_two_strategies_of_one_name_neither_is_meant_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.py").write_text(
        "from strategy_engine.strategies.moving_average import MovingAverage as Shipped\n"
        "class MovingAverage(Shipped):\n    '''Mine.'''\n"
        "class Another(Shipped):\n    '''Mine, too.'''\n",
        encoding="utf-8",
    )

    found = discover(tmp_path)

    assert {"another", "macd"} < set(found.strategies)
    with pytest.raises(UnknownName, match=r"^two strategies are called moving_average: .*mine\.py"):
        found.find("moving_average")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("class Half(\n", "SyntaxError: '(' was never closed (mine.py, line 1)"),
        (
            "import sys\nsys.exit(3)\n",
            "EndedTheProcess: it raised SystemExit, which ends a program",
        ),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_whatever_a_file_does_is_one_clear_sentence(
    tmp_path: Path, source: str, reason: str
) -> None:
    (tmp_path / "mine.py").write_text(source, encoding="utf-8")

    assert discover(tmp_path).broken == {str(tmp_path / "mine.py"): reason}


def test_a_file_that_never_ends_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("while True:\n    pass\n", encoding="utf-8")

    assert discover(tmp_path, import_within_s=0.05).broken == {
        str(tmp_path / "mine.py"): "TookTooLong: it took longer than 0.05 s and was stopped"
    }
