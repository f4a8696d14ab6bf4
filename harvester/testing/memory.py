"""Source, Transport, Cache and Ledger in memory, as ``harvester.edges`` wants them: no wire, no disk, no waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import numpy as np

from harvester.edges import Answer, Host, Outcome, Request, ServiceInfo, TileFormat, Verdict, WindowAnswer
from harvester.errors import AuthError, SourceError
from harvester.testing.images import tile_png
from harvester.testing.memory_store import MemoryCache, MemoryLedger, MemoryReader
from harvester.testing.memory_wire import MemoryTransport, broken, http, never
from harvester.testing.schemes import WEB_MERCATOR, Grid
from harvester.tiling.tile import BLOCK, BlockKey, Tile

__all__ = [
    "MemoryCache",
    "MemoryLedger",
    "MemoryReader",
    "MemoryService",
    "MemorySource",
    "MemoryTransport",
    "broken",
    "http",
    "memory_info",
    "never",
]

HOST = Host(scheme="http", name="memory.test", port=80)

_OUTCOMES = {
    204: Outcome.ABSENT,
    304: Outcome.UNCHANGED,
    400: Outcome.FAILED,
    401: Outcome.DENIED,
    403: Outcome.FAILED,
    404: Outcome.ABSENT,
    429: Outcome.THROTTLED,
    498: Outcome.DENIED,
    499: Outcome.DENIED,
    503: Outcome.THROTTLED,
}


def memory_info(
    grid: Grid = WEB_MERCATOR, *, tilemap: bool = False, tile_format: TileFormat = TileFormat.PNG
) -> ServiceInfo:
    """What a service on a grid says of itself."""
    return ServiceInfo(
        source=f"{HOST.origin}/{grid.name}",
        identity=f"{HOST.origin}/{grid.name}",
        kind="arcgis-map",
        name=grid.name,
        scheme=grid.scheme,
        extent=grid.extent,
        tile_format=tile_format,
        tilemap=tilemap,
    )


class MemoryService:
    """What is behind the wire: an answer for every request. Call it with a Request.

    ``scripted`` comes first: the Answer it gives is the answer, None lets the service answer. ``Answer.seconds`` is the
    time that the transport lets pass. A credential below ``least_credential`` is refused with 498.
    """

    def __init__(
        self,
        *,
        body: Callable[[Tile], bytes] = lambda tile: tile_png(*tile),
        absent: Callable[[Tile], bool] = lambda tile: False,
        scripted: Callable[[Request], Answer | None] = lambda request: None,
        seconds: float = 0.01,
    ) -> None:
        self.body = body
        self.absent = absent
        self.scripted = scripted
        self.seconds = seconds
        self.least_credential = 0

    def __call__(self, request: Request) -> Answer:
        answer = self.scripted(request)
        if answer is not None:
            return answer
        if request.credential < self.least_credential:
            return http(498, seconds=self.seconds)
        tile, size = request.tile, request.window
        if size:
            present = [
                not self.absent(Tile(tile.level, tile.row + y, tile.col + x)) for y in range(size) for x in range(size)
            ]
            return http(200, np.packbits(np.array(present, dtype=bool)).tobytes(), seconds=self.seconds)
        if self.absent(tile):
            return http(404, seconds=self.seconds)
        return http(200, self.body(tile), seconds=self.seconds)


class MemorySource:
    """Judges by status and first byte: HTML is ``not_an_image``, nothing is ``empty``, any other 200 is a whole PNG."""

    def __init__(
        self,
        info: ServiceInfo | None = None,
        *,
        renewable: bool = False,
        renews_in: Callable[[], float | None] = lambda: None,
        renew_fails: bool = False,
        renewal_pauses: Sequence[float | None] = (),
        hosts: Sequence[Host] = (HOST,),
    ) -> None:
        self.info = info or memory_info()
        self.hosts = tuple(hosts)
        """Rows are shared out over them."""
        self._one = self.hosts[0] if len(self.hosts) == 1 else None
        self.renewals = 0
        """How often ``renew`` was called."""
        self._renewable = renewable
        self._renews_in = renews_in
        self._renew_fails = renew_fails
        self._pauses = list(renewal_pauses)
        """Seconds that each of the first renewals asks to come back in; None: it gets no answer."""

    @property
    def credential(self) -> int:
        """How many renewals succeeded."""
        return 0 if self._renew_fails else self.renewals

    @property
    def renews_in(self) -> float | None:
        """As given."""
        return self._renews_in()

    @property
    def can_renew(self) -> bool:
        """As given."""
        return self._renewable

    def request(self, tile: Tile, attempt: int) -> Request:
        """What to ask for a tile."""
        host = self._one or self.hosts[tile.row % len(self.hosts)]
        return Request(host, f"/tile/{tile}", tile, attempt=attempt, credential=self.credential)

    def at(self, request: Request, host: Host) -> Request:
        """The same at another host."""
        return request._replace(host=host)

    def window(self, key: BlockKey) -> Request | None:
        """One window a block, where the info says that there is a tilemap."""
        if not self.info.tilemap:
            return None
        tile = Tile(*key)
        return Request(self.hosts[0], f"/tilemap/{tile}/{BLOCK}", tile, window=BLOCK, credential=self.credential)

    def judge(self, request: Request, answer: Answer) -> Verdict:
        """What an answer means, by its status and first byte."""
        if answer.fault is not None:
            return Verdict(Outcome.RETRY, answer.fault.value)
        if answer.status == 200:
            if not answer.body:
                return Verdict(Outcome.RETRY, "empty")
            if answer.body[:1] == b"<":
                return Verdict(Outcome.RETRY, "not_an_image")
            return Verdict(Outcome.WHOLE, "", answer.body, "png")
        if answer.status == 304 and not request.headers:
            return Verdict(Outcome.RETRY, "http_304")
        reason = "redirect" if 300 <= answer.status < 400 and answer.status != 304 else f"http_{answer.status}"
        asked = answer.headers.get("retry-after", "")
        return Verdict(
            _OUTCOMES.get(answer.status, Outcome.RETRY), reason, retry_after=float(asked) if asked.isdigit() else None
        )

    def read_window(self, request: Request, answer: Answer) -> WindowAnswer | None:
        """The bits of a 200, no tile at all for a 422, None for anything else."""
        tile = request.tile
        if answer.fault is None and answer.status == 422:
            return WindowAnswer(tile.level, tile.row, tile.col, np.zeros((request.window, request.window), dtype=bool))
        if answer.fault is not None or answer.status != 200 or len(answer.body) * 8 != request.window**2:
            return None
        bits = np.unpackbits(np.frombuffer(answer.body, dtype=np.uint8)).astype(bool)
        return WindowAnswer(tile.level, tile.row, tile.col, bits.reshape(request.window, request.window))

    async def renew(self, *, accepted: bool = False) -> None:
        """A new credential, or AuthError where the test wants it refused."""
        await asyncio.sleep(0)
        if self._pauses:
            error = SourceError("the token service is busy", hint="Come back.")
            error.come_back_seconds, error.passes = self._pauses.pop(0), True
            raise error
        self.renewals += 1
        if self._renew_fails:
            raise AuthError("the token service refused", hint="Check the user name and password.")
