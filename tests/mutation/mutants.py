"""Does a test fail for every line of a rule that is broken? Makes the broken rules, and tries them.

A mutant is the module with one operator or one number changed. A text for people may say anything, so what stands in
an f-string is left alone. Each mutant is tried in a child of its own, forked from a process that has the heavy imports
behind it.

    python -m tests.mutation.mutants FOLDER EVERY_NTH TEST...   prints one JSON line about all modules of the folder
"""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.abc
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

# No test of these rules takes nearly as long; a mutant that hangs is caught.
_LONGEST_S = 60

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.LtE: ast.Lt, ast.Lt: ast.LtE, ast.GtE: ast.Gt, ast.Gt: ast.GtE, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
}  # fmt: skip


def mutants_of(source: str) -> Iterator[tuple[str, str]]:
    """Each mutant of `source`: what was changed, and the whole text of the module."""
    tree = ast.parse(source)
    spots = list(_spots(tree))
    for index in range(len(spots)):
        changed = copy.deepcopy(tree)
        node = list(_spots(changed))[index]
        line, before = node.lineno, ast.unparse(node)
        _change(node)
        yield f"line {line}: {before} -> {ast.unparse(node)}", ast.unparse(changed)


def _spots(node: ast.AST) -> Iterator[ast.expr]:
    """Every expression inside a function that can be changed, in the order of the text."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef):
            for statement in child.body:
                yield from _expressions(statement)
        elif isinstance(child, ast.ClassDef):
            yield from _spots(child)


def _expressions(node: ast.AST) -> Iterator[ast.expr]:
    if isinstance(node, ast.JoinedStr | ast.Raise | ast.AnnAssign):
        return
    if isinstance(node, ast.Compare) and type(node.ops[0]) in _COMPARISONS:
        if not any(map(_is_tolerance, (node.left, *node.comparators))):
            yield node
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        if not _is_tolerance(node):
            yield node
    elif (
        isinstance(node, ast.BoolOp)
        or (isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not))
        or (isinstance(node, ast.Constant) and type(node.value) in (int, float, bool))
    ):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from _expressions(child)


def _is_tolerance(node: ast.expr) -> bool:
    """Whether a tolerance far below any figure is added or taken away there: nobody could tell at the edge."""
    return isinstance(node, ast.BinOp) and any(
        isinstance(each, ast.Name) and each.id in ("NOISE", "GRID") for each in ast.walk(node)
    )


def _change(node: ast.expr) -> None:
    match node:
        case ast.Compare():
            node.ops[0] = _COMPARISONS[type(node.ops[0])]()
        case ast.BinOp():
            node.op = _ARITHMETIC[type(node.op)]()
        case ast.BoolOp():
            node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        case ast.UnaryOp():
            # Twice not is not at all.
            node.operand = ast.UnaryOp(ast.Not(), node.operand)
        case ast.Constant(value=bool() as value):
            node.value = not value
        case ast.Constant(value=int() | float() as number):
            node.value = number + 1


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives out the mutant when its module is asked for."""

    def __init__(self, name: str, source: str, path: str) -> None:
        self._name, self._source, self._path = name, source, path

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._name:
            return None
        return importlib.util.spec_from_loader(fullname, self, origin=self._path)

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self._source, self._path, "exec"), module.__dict__)


def is_caught(name: str, source: str, path: str, tests: Sequence[str]) -> bool:
    """Whether one of `tests` fails with `source` in the place of the module `name`."""
    child = os.fork()
    if child == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        signal.alarm(_LONGEST_S)
        sys.meta_path.insert(0, _Finder(name, source, path))
        import pytest

        code = pytest.main(
            [
                "-x", "-q", "--noconftest", "-p", "no:cacheprovider", "--assert=plain",
                # A plugin that these tests do not need, and that takes seconds to import in every child.
                "-p", "no:anyio", *tests,
            ]
        )  # fmt: skip
        os._exit(0 if code == 0 else 1)
    _, status = os.waitpid(child, 0)
    return status != 0


def main(arguments: Sequence[str]) -> int:
    """Try every n-th mutant and say which survived."""
    folder, every, *tests = arguments
    for heavy in ("numpy", "hypothesis.strategies", "pydantic", "polars", "pytest"):
        importlib.import_module(heavy)
    from hypothesis import settings

    settings.register_profile(
        "mutants", derandomize=True, deadline=None, max_examples=20, database=None
    )
    settings.load_profile("mutants")
    # A package's own file only names what the others define.
    modules = {_module_name(path): path for path in sorted(Path(folder).glob("[!_]*.py"))}
    first, path = next(iter(modules.items()))
    if is_caught(first, path.read_text(), str(path), tests):
        print(json.dumps({"error": "the tests fail without any mutation"}))
        return 1
    tried, survived = 0, []
    mutants = (
        (name, path, what, mutated)
        for name, path in modules.items()
        for what, mutated in mutants_of(path.read_text())
    )
    for number, (name, path, what, mutated) in enumerate(mutants):
        if number % int(every):
            continue
        tried += 1
        if not is_caught(name, mutated, str(path), tests):
            survived.append(f"{path.name} {what}")
    print(json.dumps({"tried": tried, "survived": survived}))
    return 0


def _module_name(path: Path) -> str:
    """The name that the module at `path` is imported by: what stands behind `src`."""
    parts = path.with_suffix("").parts
    return ".".join(parts[parts.index("src") + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
