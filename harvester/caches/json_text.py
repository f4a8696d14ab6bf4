"""A JSON document with some values replaced and every other in the text that it had.

Numbers that Python would spell otherwise, or knows no finite value for (1E400), members that stand there twice, blanks
and escapes: what isn't changed is taken over letter by letter (RFC 8259 leaves all of it to who writes).
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from harvester.errors import CacheError

Names = Mapping[str, Collection[str]]
"""Members by the name of the object at the top of the document that they lie in, "" for the document itself; in lower
case."""

_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_NO_CHANGE = object()


class Member(NamedTuple):
    """One of an object: its name, and where its value begins and ends."""

    name: str
    start: int
    end: int


def decoded(data: bytes) -> str:
    """A document's text. Documents are in UTF-8, where they aren't in Latin-1."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")


def with_values(data: bytes, document: Any, where: str) -> bytes:
    """``data``, whose values are those of ``document`` from now on, in UTF-8; itself where they are already.

    Raises CacheError where a member that changes stands there twice, where a value is no number of JSON, and where it
    is nested too deeply.
    """
    text = decoded(data)
    with _errors(where):
        start = _blank(text, 0)
        old, end = _DECODER.raw_decode(text, start)
        if _same(old, document):
            return data
        edited = text[:start] + _edited(text, start, document, where) + text[end:]
    mark = codecs.BOM_UTF8 if data.startswith(codecs.BOM_UTF8) else b""
    return mark + edited.encode()


def with_texts(document: Mapping[str, Any], data: bytes, where: str) -> bytes:
    """A new document in UTF-8 whose members have the text that they have in ``data``, an object, where they say the
    same; one that stands there twice is there twice again. Raises CacheError."""
    text = decoded(data)
    pieces = []
    with _errors(where):
        members = _members(text, _blank(text, 0))
        for name, value in document.items():
            theirs = [member for member in members if member.name == name]
            if theirs and _same(_DECODER.raw_decode(text, theirs[-1].start)[0], value):
                values = [text[member.start : member.end] for member in theirs]
            elif theirs:
                values = [_edited(text, theirs[-1].start, value, where)]
            else:
                values = [_dumped(value)]
            pieces += [f"{_dumped(name)}:{each}" for each in values]
    return f"{{{','.join(pieces)}}}".encode()


@contextmanager
def _errors(where: str) -> Iterator[None]:
    """What Python's parser and writer say, as a CacheError."""
    try:
        yield
    except RecursionError as cause:
        raise CacheError(f"cannot write {where}: it is nested too deeply", hint="Simplify it.") from cause
    except ValueError as cause:
        raise CacheError(f"cannot write {where}: {cause}", hint="Mend the document.", code="damaged") from cause


def require_single(data: bytes, names: Names, where: str) -> None:
    """Raises CacheError where one of these members stands in its object twice: which of the two counts, readers decide
    each for itself. What is no JSON object has none."""
    text = decoded(data)
    start = _blank(text, 0)
    try:
        members = _members(text, start) if text[start : start + 1] == "{" else []
        _require_single(members, names.get("", ()), where)
        for name, start, _ in members:
            if name.lower() in names and text[start] == "{":
                _require_single(_members(text, start), names[name.lower()], where)
    except (ValueError, RecursionError):
        return


def _require_single(members: Sequence[Member], names: Collection[str], where: str) -> None:
    found = [member.name.lower() for member in members]
    for name in found:
        if name in names and found.count(name) > 1:
            raise _twice(name, where)


def _twice(name: str, where: str) -> CacheError:
    return CacheError(
        f"{where} has {name!r} twice, and tiles that are added change it: which of them counts is not known",
        hint="Take one of them out, or choose another output; nothing was changed.",
        code="ambiguous",
    )


# ---------------------------------------------------------------------------------------------- values in a text


def _edited(text: str, start: int, new: Any, where: str) -> str:
    """The value that begins there, changed to ``new``."""
    old, end = _DECODER.raw_decode(text, start)
    if _same(old, new):
        return text[start:end]
    if isinstance(old, dict) and isinstance(new, Mapping) and old.keys() <= new.keys():
        return _edited_object(text, start, end, old, new, where)
    if isinstance(old, list) and isinstance(new, list | tuple):
        return _edited_list(text, start, end, old, new, where)
    return _dumped(new)


def _edited_object(text: str, start: int, end: int, old: dict[str, Any], new: Mapping[str, Any], where: str) -> str:
    members = _members(text, start)
    changed = {name for name, value in new.items() if not _same(old.get(name, _NO_CHANGE), value)}
    _require_single(members, {name.lower() for name in changed & old.keys()}, where)
    pieces, done = [], start
    for name, first, last in members:
        if name in changed:
            pieces += [text[done:first], _edited(text, first, new[name], where)]
            done = last
    added = [f"{_dumped(name)}:{_dumped(value)}" for name, value in new.items() if name not in old]
    behind = members[-1].end if members else start + 1
    pieces.append(text[done:behind])
    pieces.append(",".join(["", *added] if members and added else added))
    return "".join([*pieces, text[behind:end]])


def _edited_list(text: str, start: int, end: int, old: list[Any], new: Sequence[Any], where: str) -> str:
    spans = _elements(text, start)
    free = list(range(len(old)))
    pieces = []
    for value in new:
        number = _place_of(value, old, free)
        if number is None:
            pieces.append(_dumped(value))
        else:
            free.remove(number)
            pieces.append(_edited(text, spans[number][0], value, where))
    if not free and [text[first:last] for first, last in spans] == pieces[: len(spans)] and spans:
        last = spans[-1][1]
        return text[start:last] + ",".join(["", *pieces[len(spans) :]]) + text[last:end]
    return f"[{','.join(pieces)}]"


def _place_of(value: Any, old: Sequence[Any], free: Sequence[int]) -> int | None:
    """Which of the elements that are left it is: the same, else the one of the same ``id``."""
    same = next((number for number in free if _same(old[number], value)), None)
    if same is not None or not isinstance(value, Mapping) or "id" not in value:
        return same
    return next((n for n in free if isinstance(old[n], dict) and old[n].get("id", _NO_CHANGE) == value["id"]), None)


def _members(text: str, start: int) -> list[Member]:
    """Of the object that begins there, in order."""
    found: list[Member] = []
    at = _blank(text, start + 1)
    while text[at] != "}":
        name, at = _DECODER.raw_decode(text, at)
        first = _blank(text, _blank(text, at) + len(":"))
        last = _DECODER.raw_decode(text, first)[1]
        found.append(Member(name, first, last))
        at = _blank(text, last)
        if text[at] == ",":
            at = _blank(text, at + 1)
    return found


def _elements(text: str, start: int) -> list[tuple[int, int]]:
    """Where those of the list that begins there begin and end."""
    found: list[tuple[int, int]] = []
    at = _blank(text, start + 1)
    while text[at] != "]":
        last = _DECODER.raw_decode(text, at)[1]
        found.append((at, last))
        at = _blank(text, last)
        if text[at] == ",":
            at = _blank(text, at + 1)
    return found


def _blank(text: str, at: int) -> int:
    """Behind the blanks there."""
    match = _BLANK.match(text, at)
    return match.end() if match is not None else at


def _same(one: Any, other: Any) -> bool:
    """Do they say the same? A not-a-number does, and true is no 1."""
    if one is other:
        return True
    if isinstance(one, dict) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    return bool(one == other or (one != one and other != other))


def _dumped(value: Any) -> str:
    """A value that is new. ValueError for one that JSON has no word for."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # half a pair of surrogates, which JSON can say and UTF-8 can't
        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text
