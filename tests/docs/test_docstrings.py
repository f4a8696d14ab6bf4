"""Every public name says what it is."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import harvester

ROOT = Path(harvester.__file__).parent
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def undocumented(path: Path) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if not ast.get_docstring(tree):
        yield f"{path.relative_to(ROOT)}"
    for node in tree.body:
        if not isinstance(node, (*FUNCTIONS, ast.ClassDef)) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            yield f"{path.relative_to(ROOT)}: {node.name}"
        for inner in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(inner, FUNCTIONS) and not inner.name.startswith("_") and not ast.get_docstring(inner):
                yield f"{path.relative_to(ROOT)}: {node.name}.{inner.name}"


def test_every_public_name_has_a_docstring():
    assert [name for path in sorted(ROOT.rglob("*.py")) for name in undocumented(path)] == []
