"""Remedies speak with one voice: every hint is a sentence, with a capital and a full stop, or ends in what is to be
typed or chosen."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import harvester

PACKAGE = Path(harvester.__file__).parent

NAMES = re.compile(r"(^|_)(hint|again|elsewhere|other_formats|not_ours|wrong_login)$", re.IGNORECASE)
"""Variables and constants that hold a hint."""

VALUE = "\0"
"""Stands for what an f-string fills in."""


def texts(node: ast.expr | None) -> Iterator[tuple[str, int, bool, bool]]:
    """The texts that an expression can be: text, line, whether a hint begins and ends there."""
    if isinstance(node, ast.IfExp):
        yield from texts(node.body)
        yield from texts(node.orelse)
    elif isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from texts(value)
    elif isinstance(node, ast.BinOp):
        yield from ((text, line, begins, False) for text, line, begins, _ in texts(node.left))
        yield from ((text, line, False, ends) for text, line, _, ends in texts(node.right))
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value, node.lineno, True, True
    elif isinstance(node, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values]
        yield "".join(parts), node.lineno, True, True


def hints(tree: ast.Module) -> Iterator[tuple[str, int, bool, bool]]:
    """Every text of a module that is a hint: given as ``hint=``, kept under a hint's name, or the second of a pair of
    words and hint."""
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg == "hint":
            yield from texts(node.value)
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name) and NAMES.search(target.id):
                    yield from texts(node.value)
                elif isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                    for name, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(name, ast.Name) and NAMES.search(name.id):
                            yield from texts(value)
                elif isinstance(target, ast.Name) and target.id.endswith("_WORDS") and isinstance(node.value, ast.Dict):
                    for pair in node.value.values:
                        if isinstance(pair, ast.Tuple):
                            yield from texts(pair.elts[1])
        elif isinstance(node, ast.FunctionDef) and node.name.endswith("_hint"):
            for part in ast.walk(node):
                if isinstance(part, ast.Return):
                    yield from texts(part.value)


def wrong(text: str, begins: bool, ends: bool) -> str:
    """What is wrong with a hint's manner; nothing where it is as all are."""
    if not text or text == VALUE:
        return ""
    if begins and text[0].islower() and not text.startswith("harvester "):
        return "begins without a capital"
    if ends and text[-1] not in ".?" and ": " not in text:
        return "ends without a full stop, and in nothing to type or to choose"
    return ""


def test_every_hint_is_a_sentence_or_ends_in_what_is_to_be_typed():
    bad, count = [], 0
    for path in sorted(PACKAGE.rglob("*.py")):
        for text, line, begins, ends in hints(ast.parse(path.read_text(encoding="utf-8"))):
            count += 1
            if reason := wrong(text, begins, ends):
                bad.append(f"{path.relative_to(PACKAGE)}:{line} {reason}: {text!r}")
    assert not bad, "\n".join(bad)
    assert count > 250


def test_a_hint_of_another_manner_is_found():
    source = 'raise UsageError("x", hint="choose another output" if a else f"Name {b}")\nhint = "Keep one."\n'
    source += 'words, hint = "x", "try again"\nFAULT_WORDS = {1: ("no", "look there")}\n'
    found = {text for text, _, begins, ends in hints(ast.parse(source)) if wrong(text, begins, ends)}
    assert found == {"choose another output", f"Name {VALUE}", "try again", "look there"}
