"""Style, sprites and fonts of a vector tile service, gathered for a package: what to ask, and in which order.

Nothing here ends a run: what can't be had is told. A style that is there is the sign that all was gathered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import quote, unquote

from harvester.caches.vtpk_resources import MAX_BYTES, STYLE, is_name
from harvester.errors import HarvesterError, SourceError
from harvester.redact import redact_url
from harvester.sources.vector_style import fonts_of, glyphs_of, packaged, sprite_of
from harvester.transport.documents import Document, read_json
from harvester.transport.origins import Origin, is_allowed, origin_of, same_site
from harvester.transport.refusals import DocumentError

RANGE = 256
RANGES = tuple(f"{first}-{first + RANGE - 1}" for first in range(0, 65536, RANGE))
"""Glyphs come 256 code points a file, those of the basic multilingual plane (Style Specification, "Glyphs")."""

AT_ONCE = 6
"""Requests in flight: as many as a browser makes of one host."""

SPRITES = (".json", ".png", "@2x.json", "@2x.png")


class Keeper(Protocol):
    """Where resources are kept."""

    def has(self, name: str) -> bool:
        """True where a resource is there."""

    def put(self, name: str, data: bytes) -> None:
        """Keep a resource, durably. Raises CacheError."""


Ask = Callable[[str], Awaitable[Document]]
"""GET of an address with the credentials of its own host. Raises SourceError."""


@dataclass(slots=True, kw_only=True)
class Gathering:
    """The resources of one service."""

    service: str
    """The address of the service."""
    style_url: str
    style: Any
    """The style where it was read already."""
    home: Origin
    """Where the address was that a person typed, or the style's own host."""
    allow_hosts: Sequence[str]
    ask: Ask
    keep: Keeper
    stopped: Callable[[], bool] = lambda: False
    notices: list[str] = field(default_factory=list)

    async def run(self) -> list[str]:
        """Gather what is not there yet; gives what to tell. Raises CacheError where nothing can be kept."""
        if self.keep.has(STYLE):
            return []
        style = self.style
        try:
            if style is None:
                style = read_json(await self.ask(self.style_url))
            if not isinstance(style, dict) or not isinstance(style.get("layers"), list):
                raise SourceError(f"{redact_url(self.style_url)} is no style")
        except SourceError as error:
            return [f"the package has a plain style of its own: {error.message}"]
        await self._sprites(style)
        await self._fonts(style)
        if self.stopped():
            return self.notices
        packed, elsewhere = packaged(style, self.style_url, self.service)
        if elsewhere:
            names = ", ".join(elsewhere)
            self.notices.append(f"the style also draws {names} from elsewhere, which the package does not hold")
        self.keep.put(STYLE, json.dumps(packed, ensure_ascii=False, separators=(",", ":")).encode())
        return self.notices

    async def _sprites(self, style: Any) -> None:
        base = sprite_of(style, self.style_url)
        if base is None or not self._trusted(base, "sprites"):
            return
        head, question, query = base.partition("?")
        asked = [(f"sprites/sprite{end}", f"{head}{end}{question}{query}") for end in SPRITES]
        found = await self._gather(asked)
        if not {"sprites/sprite.json", "sprites/sprite.png"} <= found and not self.stopped():
            self.notices.append("the style's sprites are not to be had: its symbols will be missing")

    async def _fonts(self, style: Any) -> None:
        fonts, template = fonts_of(style), glyphs_of(style, self.style_url)
        if not fonts or template is None or not self._trusted(template, "fonts"):
            return
        listed = await self._listed()
        lacking: list[str] = []
        for font in fonts:
            if not is_name(f"fonts/{font}/{RANGES[0]}.pbf"):
                lacking.append(font)
                continue
            ranges = listed.get(font, ()) if listed is not None else RANGES
            asked = [
                (
                    f"fonts/{font}/{each}.pbf",
                    template.replace("{fontstack}", quote(font, safe="")).replace("{range}", each),
                )
                for each in ranges
            ]
            # A font without its first range is not there at all: 255 questions less.
            found = await self._gather(asked[:1])
            if found and not self.stopped():
                found |= await self._gather(asked[1:])
            if not found:
                lacking.append(font)
        if lacking and not self.stopped():
            self.notices.append(f"fonts that are not to be had: {', '.join(lacking)}; their texts will be missing")

    async def _listed(self) -> dict[str, list[str]] | None:
        """The glyph ranges that the service lists, by font; None where it has no list."""
        try:
            document = read_json(await self.ask(f"{self.service}/resources/info?f=json"))
        except SourceError:
            return None
        names = document.get("resourceInfo") if isinstance(document, dict) else None
        found: dict[str, list[str]] = {}
        for name in names if isinstance(names, list) else ():
            parts = unquote(name).split("/") if isinstance(name, str) else []
            if len(parts) == 4 and parts[:2] == ["..", "fonts"] and parts[3].removesuffix(".pbf") in RANGES:
                found.setdefault(parts[2], []).append(parts[3].removesuffix(".pbf"))
        return found or None

    async def _gather(self, asked: Sequence[tuple[str, str]]) -> set[str]:
        """Ask for resources, a few at once; gives the names of those that are there now."""
        pending = iter([pair for pair in asked if not self.keep.has(pair[0])])
        found = {name for name, _ in asked if self.keep.has(name)}

        async def worker() -> None:
            for name, address in pending:
                if self.stopped():
                    return
                data = await self._one(address)
                if data:
                    self.keep.put(name, data)
                    found.add(name)

        try:
            async with asyncio.TaskGroup() as workers:
                for _ in range(min(AT_ONCE, len(asked))):
                    workers.create_task(worker())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from group
        return found

    async def _one(self, address: str) -> bytes | None:
        try:
            body = (await self.ask(address)).body
        except DocumentError as error:
            if error.status != 404:
                self._tell(error)
            return None
        except SourceError as error:
            self._tell(error)
            return None
        # A login page or an error in a 200 is no resource.
        return (
            body if 0 < len(body) <= MAX_BYTES and body.lstrip()[:1] != b"<" and b'"error"' not in body[:40] else None
        )

    def _tell(self, error: HarvesterError) -> None:
        if error.message not in self.notices and len(self.notices) < AT_ONCE:
            self.notices.append(error.message)

    def _trusted(self, address: str, what: str) -> bool:
        found = origin_of(address.replace("{fontstack}", "x").replace("{range}", "x"))
        service = origin_of(self.service)
        if found is None:
            self.notices.append(f"the style's {what} have no http(s) address: they will be missing")
            return False
        if any(home is not None and same_site(home, found) for home in (self.home, service, origin_of(self.style_url))):
            return True
        if is_allowed(found, self.allow_hosts):
            return True
        self.notices.append(
            f"the style's {what} are on another host, {found}, and will be missing; to take them: "
            f"--allow-host {found.place}"
        )
        return False
