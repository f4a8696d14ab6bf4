"""The head of an HTTP answer as it came, read only as far as somebody asks: most tiles are judged without it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def head_end(data: bytes, start: int = 0) -> int:
    """Where the head that starts at ``start`` ends: the index just after its blank line; -1 while there is none.

    A line may end in LF alone, as RFC 9112 (2.2) lets a recipient accept.
    """
    strict = data.find(b"\n\r\n", start)
    bare = data.find(b"\n\n", start, strict if strict >= 0 else len(data))
    if bare >= 0:
        return bare + 2
    return strict + 3 if strict >= 0 else -1


def longest_line(head: bytes) -> int:
    """Bytes of the longest line, for the cap on one header."""
    return max(map(len, head.split(b"\n")))


class Head(Mapping[str, str]):
    """Headers of one answer: lower-case names, repeated ones joined by ``, `` (RFC 9110, 5.3).

    ``raw`` is the whole head with its status line. It is parsed when a name is asked for that occurs in it.
    """

    __slots__ = ("_parsed", "_raw", "lower")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self.lower = raw.lower()
        """All of it in lower case: a name that isn't in here is certainly no header."""
        self._parsed: dict[str, str] | None = None

    def parsed(self) -> dict[str, str]:
        """All headers as a dictionary; the same one each time."""
        if self._parsed is None:
            self._parsed = _parse(self._raw)
        return self._parsed

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        """As of any mapping; costs one search where the name is not mentioned."""
        if self._parsed is None and self.lower.find(key.encode()) < 0:
            return default
        return self.parsed().get(key, default)

    def __getitem__(self, key: str) -> str:
        return self.parsed()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.parsed())

    def __len__(self) -> int:
        return len(self.parsed())

    def __repr__(self) -> str:
        return f"Head({self.parsed()!r})"


def header(headers: Mapping[str, str], name: str, lower: bytes) -> str | None:
    """The header of an answer, asked for with every tile and hardly ever there; ``lower``: its name as bytes."""
    if isinstance(headers, Head) and headers.lower.find(lower) < 0:
        return None
    return headers.get(name)


def _parse(raw: bytes) -> dict[str, str]:
    """Only ever given what llhttp accepted, so it is generous: a line without a colon is passed over."""
    fields: list[list[bytes]] = []
    for line in raw.split(b"\n")[1:]:
        line = line.rstrip(b"\r")
        if line[:1] in (b" ", b"\t") and fields:  # a folded value goes on (RFC 9112, 5.2)
            fields[-1][1] += b" " + line.strip(b" \t")
            continue
        name, colon, value = line.partition(b":")
        if colon:
            fields.append([name, value])
    head: dict[str, str] = {}
    for name, value in fields:
        key = name.strip(b" \t").lower().decode("utf-8", "surrogateescape")
        text = value.strip(b" \t").decode("utf-8", "surrogateescape")
        head[key] = f"{head[key]}, {text}" if key in head else text
    return head
