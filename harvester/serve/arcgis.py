"""An ArcGIS REST tile service over anything that reads like a cache: documents, tiles, tilemap, tokens."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from harvester.errors import SourceError, UsageError
from harvester.serve.answers import ROOT, conditional, content_type, document_answer, etag, json_answer
from harvester.serve.documents import (
    CURRENT_VERSION,
    ServedCache,
    directory_document,
    error_document,
    service_document,
    tilemap_json,
)
from harvester.serve.held import Held, HeldAnswers
from harvester.serve.tokens import TokenCheck, TokenDesk, token_desk, token_gate
from harvester.tiling.tile import Tile, block_of

HELD_BYTES = 64 * 1024 * 1024
"""Answers kept ready: some 10,000 ordinary tiles, what a few people look at in a session."""

MAX_AGE_SECONDS = 86400
"""``Cache-Control`` of tiles, ArcGIS's own default for cached map services."""

CLOSE_SECONDS = 2.0
"""What open connections get to end in when the server closes."""

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, POST, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "ETag, blank-tile",
}

NOT_FOUND_PAGE = b"<html><head><title>Error 404</title></head><body>Not found</body></html>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A server that answers now. ``url`` is ``http://127.0.0.1:PORT``, without a final slash."""

    url: str
    runner: web.AppRunner = field(repr=False)

    def service(self, name: str) -> str:
        """The address of a service, as a person would give it to a client."""
        return f"{self.url}{ROOT}/services/{name}/MapServer"

    async def close(self) -> None:
        """Stop answering and close all connections. May be called twice."""
        await self.runner.cleanup()


def make_app(
    services: Mapping[str, ServedCache],
    *,
    tilemap: bool = True,
    threads: int = 0,
    held_bytes: int = HELD_BYTES,
    require_token: TokenCheck | None = None,
    issue_token: TokenDesk | None = None,
) -> web.Application:
    """The application that serves caches by name (``World`` or ``Folder/World``) below ``/arcgis/rest/services``.

    ``threads``: 0 reads in the event loop (right for files: microseconds); more reads in that many threads (right for
    readers that draw), which must bear it. ``require_token`` makes the services answer 499 and 498, with HTTP 200 as
    ArcGIS does, to requests without a good token; ``issue_token`` adds ``/arcgis/tokens/generateToken``.
    Raises UnsupportedFormatError for caches that no MapServer can serve.
    """
    app = web.Application(middlewares=[token_gate(require_token)] if require_token else [])
    app.on_response_prepare.append(_add_cors)
    pool = ThreadPoolExecutor(threads, "draw") if threads else None
    held = HeldAnswers(held_bytes)
    route = app.router
    for name, cache in services.items():
        service = _Service(name, cache, tilemap=tilemap, held=held, pool=pool)
        base = f"{ROOT}/services/{name}/MapServer"
        route.add_get(base + "/tile/{level}/{row}/{col}", service.tile)
        if tilemap:
            route.add_get(base + "/tilemap/{level}/{row}/{col}/{width}/{height}", service.window)
        route.add_get(base, service.describe)
        route.add_get(base + "/", service.describe)
    names = tuple(services)
    desk = issue_token is not None or require_token is not None

    async def info(request: web.Request) -> web.Response:
        document: dict[str, Any] = {"currentVersion": CURRENT_VERSION, "fullVersion": f"{CURRENT_VERSION}.0"}
        document["authInfo"] = {"isTokenBasedSecurity": desk}
        if desk:
            document["authInfo"]["tokenServicesUrl"] = f"{request.scheme}://{request.host}/arcgis/tokens/"
            document["authInfo"]["shortLivedTokenValidity"] = 60
        return document_answer(request, document, "Server info")

    async def directory(request: web.Request) -> web.Response:
        folder = request.match_info.get("folder", "")
        document = directory_document(names, folder)
        if document is None:
            return json_answer(error_document(404, "Folder not found", folder))
        return document_answer(request, document, folder or "Services", document["services"])

    for path, handler in ((f"{ROOT}/info", info), (f"{ROOT}/services", directory)):
        route.add_get(path, handler)
        route.add_get(path + "/", handler)
    route.add_get(ROOT + "/services/{folder}", directory)
    if issue_token is not None:
        for path in ("/arcgis/tokens/", "/arcgis/tokens/generateToken"):
            route.add_post(path, token_desk(issue_token))
    route.add_route("*", "/{path:.*}", _elsewhere)
    if pool is not None:

        async def close_pool(_: web.Application) -> None:
            pool.shutdown(wait=True, cancel_futures=True)

        app.on_cleanup.append(close_pool)
    return app


async def start_server(app: web.Application, host: str = "127.0.0.1", port: int = 0) -> Running:
    """Serve an application on this machine only; ``port`` 0 takes a free one.

    Raises UsageError for an address that other machines could reach, SourceError when the port is taken.
    """
    if not (host == "localhost" or _is_loopback(host)):
        raise UsageError(f"{host} can be reached from other machines", hint="Serve on 127.0.0.1, ::1 or localhost.")
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError as fault:
        await runner.cleanup()
        raise SourceError(
            f"can't serve on {host}:{port}: {fault.strerror}", hint="Take another port, or 0 for a free one."
        ) from fault
    bound = runner.addresses[0][1]
    return Running(url=f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}", runner=runner)


class _Service:
    """One cache behind its routes."""

    def __init__(
        self, name: str, cache: ServedCache, *, tilemap: bool, held: HeldAnswers, pool: ThreadPoolExecutor | None
    ) -> None:
        self._name = name
        self._cache = cache
        self._held = held
        self._pool = pool
        self._levels = cache.info.scheme.by_level
        self._document = service_document(name, cache, tilemap=tilemap)

    async def describe(self, request: web.Request) -> web.Response:
        return document_answer(request, self._document, self._name)

    async def tile(self, request: web.Request) -> web.Response:
        try:
            tile = Tile(*(int(request.match_info[part]) for part in ("level", "row", "col")))
        except ValueError:
            return json_answer(error_document(400, "Invalid or missing input parameters."))
        key = (self._name, tile)
        if key in self._held:
            held = self._held.get(key)
        else:
            held = await self._call(self._read, tile)
            self._held.put(key, held)
        if held is None:
            return web.Response(status=404, body=NOT_FOUND_PAGE, content_type="text/html")
        return conditional(request, held, MAX_AGE_SECONDS)

    async def window(self, request: web.Request) -> web.Response:
        try:
            level, row, col, width, height = (
                int(request.match_info[part]) for part in ("level", "row", "col", "width", "height")
            )
        except ValueError:
            return json_answer(error_document(400, "Invalid or missing input parameters."))
        if width < 1 or height < 1:
            return json_answer(
                error_document(400, "Invalid or missing input parameters.", "width and height start at 1")
            )
        tile = Tile(level, row, col)
        key = (self._name, tile, width, height)
        if key in self._held:
            held = self._held.get(key)
        else:
            held = await self._call(self._window, tile, width, height)
            self._held.put(key, held)
        if held is None:
            # HTTP 200: browsers' clients take that as an empty window, an HTTP error as a broken service.
            return json_answer(error_document(422, "Tilemap not found", f"no tiles in the bundle of {tile}"))
        return conditional(request, held, 0)

    def _read(self, tile: Tile) -> Held | None:
        if tile.level not in self._levels or tile.row < 0 or tile.col < 0:
            return None
        body = self._cache.read(tile.level, tile.row, tile.col)
        return None if body is None else Held(body, etag(body), content_type(body))

    def _window(self, tile: Tile, width: int, height: int) -> Held | None:
        if tile.level not in self._levels or tile.row < 0 or tile.col < 0:
            return None
        body = tilemap_json(self._cache.present(block_of(tile)), tile, width, height)
        return None if body is None else Held(body, etag(body), "application/json")

    async def _call(self, work: Callable[..., Held | None], *args: object) -> Held | None:
        if self._pool is None:
            return work(*args)
        return await asyncio.get_running_loop().run_in_executor(self._pool, work, *args)


async def _add_cors(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(CORS_HEADERS)


async def _elsewhere(request: web.Request) -> web.Response:
    """Whatever no other route takes: a browser's question before a request with headers of its own, or a wrong path."""
    if request.method == "OPTIONS":
        return web.Response(status=204)
    return web.Response(status=404, body=NOT_FOUND_PAGE, content_type="text/html")


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False
