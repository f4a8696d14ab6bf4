"""What a fault server was asked and what it answered: every request in order, and the questions tests put to it."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple
from urllib.parse import parse_qsl

from harvester.tiling.tile import Tile


class Place(NamedTuple):
    """What a request asks for: ``document``, ``tile``, ``tilemap``, ``resource`` (style, sprite, font), ``token``,
    ``info``, ``other``; and which tile."""

    kind: str
    tile: Tile | None = None
    window: tuple[int, int] = (0, 0)
    """Width and height of a tilemap window whose top left is ``tile``."""


@dataclass(kw_only=True, eq=False)
class Asked:
    """One request as the server read it, and then how it was answered."""

    at: float
    """Monotonic seconds at which the whole request had been read."""
    serial: int
    """From 1, over all requests of this server."""
    serial_of_kind: int
    """From 1, over all requests of the same kind."""
    connection: int
    """From 1, in the order in which connections were accepted."""
    serial_on_connection: int
    """From 1: 2 and more reuse a kept connection."""
    method: str
    target: str
    """Path and query as sent."""
    raw: bytes = field(repr=False)
    """The head as it came."""
    body: bytes = field(repr=False, default=b"")
    place: Place
    try_number: int
    """From 1: how often this very tile (or window, or path) has been asked."""
    concurrency: int
    """Requests being answered at that moment, this one included."""
    answer: str = "being answered"
    """What was done, in words: ``200 image/png 224``, or the act and its status; what went wrong after a ``;``."""
    status: int = 0
    """As sent; 0 while nothing was."""
    rule: int | None = None
    """Index of the rule that answered; None: the service itself; -1: the capacity limit."""
    ended: float | None = None

    @property
    def kind(self) -> str:
        """What it asks for: ``tile``, ``tilemap``, ``document`` ..."""
        return self.place.kind

    @property
    def tile(self) -> Tile | None:
        """The tile, or a tilemap window's top left."""
        return self.place.tile

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    @cached_property
    def query(self) -> dict[str, str]:
        """The query's fields, decoded."""
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The body's fields, where it is form-encoded."""
        return dict(parse_qsl(self.body.decode("latin-1"), keep_blank_values=True))

    @cached_property
    def headers(self) -> dict[str, str]:
        """The request's headers, names in lower case, repeated ones joined by ``, ``."""
        headers: dict[str, str] = {}
        for line in self.raw.decode("latin-1").split("\r\n")[1:]:
            name, colon, value = line.partition(":")
            if colon:
                name = name.strip().lower()
                headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        return headers


class RequestLog:
    """All requests of a server in the order of arrival; safe to read from another thread while the server runs.

    ``keep`` bounds the entries held (at least the newest so many) for runs of millions; what is counted stays counted.
    """

    def __init__(self, keep: int | None = None) -> None:
        self._keep = keep
        self._entries: list[Asked] = []
        self._tries: Counter[object] = Counter()
        self._recent: deque[float] = deque(maxlen=100_000)
        self._kinds: Counter[str] = Counter()
        self.connections = 0
        """Connections accepted so far."""
        self.open_connections = 0
        self.max_connections = 0
        """The most connections open at one time."""
        self.in_progress = 0
        """Requests being answered now."""

    def __iter__(self) -> Iterator[Asked]:
        return iter(self._entries[:])

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, index: int) -> Asked:
        return self._entries[index]

    def add(
        self, *, at: float, connection: int, nth: int, method: str, target: str, raw: bytes, body: bytes, place: Place
    ) -> Asked:
        """Note a request that has just been read; its serial numbers, try and concurrency are worked out here."""
        key: object = (place.kind, place.tile, place.window) if place.tile is not None else (method, target)
        self._tries[key] += 1
        self._kinds[place.kind] += 1
        self.in_progress += 1
        asked = Asked(
            at=at,
            serial=self._kinds.total(),
            serial_of_kind=self._kinds[place.kind],
            connection=connection,
            serial_on_connection=nth,
            method=method,
            target=target,
            raw=raw,
            body=body,
            place=place,
            try_number=self._tries[key],
            concurrency=self.in_progress,
        )
        self._entries.append(asked)
        if self._keep is not None and len(self._entries) > 2 * self._keep:
            self._entries = self._entries[-self._keep :]
        if place.kind in ("tile", "tilemap"):
            self._recent.append(at)
        return asked

    def end(self, asked: Asked, at: float) -> None:
        """Note that a request has been answered, or that its connection has gone."""
        if asked.ended is None:
            asked.ended = at
            self.in_progress -= 1

    def opened(self) -> int:
        """Note a new connection; gives its number."""
        self.connections += 1
        self.open_connections += 1
        self.max_connections = max(self.max_connections, self.open_connections)
        return self.connections

    def closed(self) -> None:
        """Note that a connection has gone."""
        self.open_connections -= 1

    def of(self, kind: str | None = None) -> list[Asked]:
        """Requests of one kind (None: all)."""
        return [asked for asked in self._entries[:] if kind is None or asked.kind == kind]

    def count(self, kind: str | None = None) -> int:
        """How many requests of one kind (None: all)."""
        return self._kinds.total() if kind is None else self._kinds[kind]

    def requests_of(self, tile: Tile) -> list[Asked]:
        """Every try of one tile, first to last."""
        return [asked for asked in self._entries[:] if asked.kind == "tile" and asked.tile == tile]

    def tiles(self) -> Counter[Tile]:
        """How often each tile was asked."""
        return Counter(asked.tile for asked in self.of("tile") if asked.tile is not None)

    def max_in_window(self, seconds: float, kind: str | None = None) -> int:
        """The most requests of a kind that began within any half-open window of that length, wherever it starts."""
        window: deque[float] = deque()
        most = 0
        for at in sorted(asked.at for asked in self.of(kind)):
            window.append(at)
            while window[0] <= at - seconds:
                window.popleft()
            most = max(most, len(window))
        return most

    def max_concurrency(self, kind: str | None = None) -> int:
        """The most requests of a kind that were being answered at one time."""
        steps = [(asked.at, 1) for asked in self.of(kind)]
        steps += [(asked.ended, -1) for asked in self.of(kind) if asked.ended is not None]
        most = now = 0
        for _, step in sorted(steps):
            now += step
            most = max(most, now)
        return most

    def in_last(self, now: float, seconds: float) -> int:
        """Tile and tilemap requests of the last ``seconds``. For the server's own thread: it forgets older ones."""
        while self._recent and self._recent[0] <= now - seconds:
            self._recent.popleft()
        return len(self._recent)

    def between(self, start: float, end: float, kind: str | None = None) -> list[Asked]:
        """Requests of a kind that were read at start <= time < end, in monotonic seconds."""
        return [asked for asked in self.of(kind) if start <= asked.at < end]

    def clear(self) -> None:
        """Forget all requests; tries are counted anew, connections stay counted."""
        self._entries = []
        self._tries.clear()
        self._kinds.clear()
