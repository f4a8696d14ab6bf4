"""HTTP answers of the tile service: documents as JSON or a page, bodies with their tags, 304 to who has them."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping
from typing import Any

import xxhash
from aiohttp import web

from harvester.serve.held import Held

ROOT = "/arcgis/rest"
"""Where ArcGIS servers have their REST services."""


def etag(body: bytes) -> str:
    """A strong entity tag of a body: the same bytes, the same tag."""
    return f'"{xxhash.xxh3_128_hexdigest(body)}"'


def content_type(body: bytes) -> str:
    """The media type of a tile by its signature."""
    if body.startswith(b"\x89PNG"):
        return "image/png"
    if body.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if body.startswith(b"RIFF") and body[8:12] == b"WEBP":
        return "image/webp"
    if body.startswith(b"GIF8"):
        return "image/gif"
    return "application/octet-stream"


def conditional(request: web.Request, held: Held, max_age_seconds: int) -> web.Response:
    """A held answer, or 304 to a client that names its tag."""
    headers = {"ETag": held.etag, "Cache-Control": f"max-age={max_age_seconds}"}
    condition = request.headers.get("If-None-Match")
    if condition is not None and (condition.strip() == "*" or held.etag in _etags(condition)):
        return web.Response(status=304, headers=headers)
    return web.Response(body=held.body, headers=headers, content_type=held.content_type)


def _etags(condition: str) -> set[str]:
    """The tags of an If-None-Match header, compared weakly (RFC 9110, 13.1.2)."""
    return {tag.strip().removeprefix("W/") for tag in condition.split(",")}


def json_answer(document: Mapping[str, Any], *, pretty: bool = False) -> web.Response:
    """A document as JSON."""
    text = json.dumps(document, ensure_ascii=False, indent=1 if pretty else None)
    return web.Response(text=text, content_type="application/json")


def document_answer(
    request: web.Request, document: Mapping[str, Any], title: str, services: list[dict[str, str]] | None = None
) -> web.Response:
    """A document as ``f`` asks: json, pjson, or a page for people (ArcGIS's default)."""
    form = request.query.get("f", "html").lower()
    if form in ("json", "pjson"):
        return json_answer(document, pretty=form == "pjson")
    names = [html.escape(service["name"]) for service in services or ()]
    links = "".join(f'<li><a href="{ROOT}/services/{name}/MapServer">{name}</a></li>' for name in names)
    text = html.escape(json.dumps(document, ensure_ascii=False, indent=1))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>'
        f"<body><h1>{html.escape(title)}</h1><ul>{links}</ul>"
        f'<p><a href="?f=json">JSON</a></p><pre>{text}</pre></body></html>'
    )
    return web.Response(text=page, content_type="text/html")
