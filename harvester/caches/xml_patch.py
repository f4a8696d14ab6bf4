"""An XML document with some elements' contents replaced, or some elements more, and every other byte as it was."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from xml.parsers import expat

from harvester.caches.description import unreadable

Path = tuple[str, ...]
"""Local names of elements below the root, outermost first."""


class _Places:
    """Where the contents of the first element of each path begin and end, in bytes. ``counted``: a path of which each
    element's end is wanted, within the first parent."""

    def __init__(self, counted: Path = ()) -> None:
        self.spans: dict[Path, tuple[int, int]] = {}
        self.ends: list[int] = []
        """Just behind each counted element."""
        self._counted = counted
        self._ended = False
        self.encoding = "utf-8"
        self._stack: list[tuple[Path, int]] = []
        self._parser = expat.ParserCreate()
        self._opened: Path | None = None
        for name in ("CharacterDataHandler", "CommentHandler", "ProcessingInstructionHandler", "DefaultHandler"):
            setattr(self._parser, name, self._between)
        self._parser.XmlDeclHandler = self._declared
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end

    def find(self, data: bytes) -> None:
        self._parser.Parse(data, True)

    def _declared(self, version: str, encoding: str | None, standalone: int) -> None:
        self.encoding = encoding or self.encoding

    def _between(self, *told: object) -> None:
        if self._opened is not None:
            self._stack[-1] = (self._opened, self._parser.CurrentByteIndex)
            self._opened = None
        if self._ended:
            self.ends.append(self._parser.CurrentByteIndex)
            self._ended = False

    def _start(self, name: str, attributes: list[str]) -> None:
        self._between()
        outer = self._stack[-1][0] if self._stack else ()
        self._opened = (*outer, name.rpartition(":")[2]) if self._stack else ()
        self._stack.append((self._opened, -1))

    def _end(self, name: str) -> None:
        self._between()
        path, start = self._stack.pop()
        self._ended = path == self._counted != () and path[:-1] not in self.spans
        self.spans.setdefault(path, (start, self._parser.CurrentByteIndex))


def with_contents(data: bytes, contents: Mapping[Path, str], where: str) -> bytes:
    """The document with this XML inside these elements; a path that it doesn't have is left out. ``contents`` is as it
    stands in the file (``text`` makes it of a text). Raises CacheError where it isn't plain XML."""
    places = _found(data, where)
    inserted = {path: _text(xml, data, places.encoding, where) for path, xml in contents.items()}
    for path, xml in sorted(inserted.items(), key=lambda each: places.spans.get(each[0], (0, 0)), reverse=True):
        start, end = places.spans.get(path, (0, 0))
        if end == 0:
            continue
        empty = _encoded("/>", data, places.encoding)
        if data[:end].endswith(empty) and start == end:
            # <name/> has no inside yet.
            name = _encoded(f"</{_name_at(data, end, places.encoding)}>", data, places.encoding)
            head = data[: end - len(empty)] + _encoded(">", data, places.encoding)
            data = head + xml + name + data[end:]
        else:
            data = data[:start] + xml + data[end:]
    return data


def with_elements(data: bytes, path: Path, added: Mapping[int, str], where: str) -> bytes:
    """The document with more elements of a path, within its first parent: this XML behind so many of those that are
    there, each of which stays as it is, as does what lies between. One is there. Raises CacheError where it isn't plain
    XML."""
    places = _found(data, where, path)
    first = places.spans.get(path[:-1], (0, 0))[0]
    for behind, xml in sorted(added.items(), reverse=True):
        at = places.ends[behind - 1] if behind else first
        data = data[:at] + _text(xml, data, places.encoding, where) + data[at:]
    return data


def _found(data: bytes, where: str, counted: Path = ()) -> _Places:
    places = _Places(counted)
    try:
        places.find(data)
    except (expat.ExpatError, LookupError, ValueError) as cause:
        raise unreadable(where, f"it is not plain XML ({cause})") from cause
    return places


def _text(xml: str, data: bytes, encoding: str, where: str) -> bytes:
    try:
        return _encoded(xml, data, encoding)
    except (LookupError, ValueError) as cause:
        raise unreadable(where, f"it is not plain XML ({cause})") from cause


def escaped(words: str) -> str:
    """A text as it stands in a document."""
    return escape(words, quote=False)


def _name_at(data: bytes, end: int, encoding: str) -> str:
    """The name of the empty element that ends there."""
    mark = _encoded("<", data, encoding)
    tag = data[data.rindex(mark, 0, end) : end].decode(_codec(data, encoding))
    return tag[1:-2].split()[0]


def _encoded(xml: str, data: bytes, encoding: str) -> bytes:
    return xml.encode(_codec(data, encoding), "xmlcharrefreplace")


def _codec(data: bytes, encoding: str) -> str:
    """The document's own encoding, without a byte order mark."""
    for mark, codec in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if data.startswith(mark):
            return codec
    return encoding
