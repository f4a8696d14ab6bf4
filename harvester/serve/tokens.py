"""Tokens of the tile service, as ArcGIS asks for them: 499 and 498 with HTTP 200, and the desk that issues them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from harvester.serve.answers import ROOT, json_answer
from harvester.serve.documents import error_document

TokenCheck = Callable[[str], bool]
"""True when a token is good now."""

TokenDesk = Callable[[str, str], "tuple[str, int] | None"]
"""Username and password to (token, end in milliseconds since 1970), or None when refused."""


def token_gate(good: TokenCheck) -> Any:
    """Middleware that lets only requests with a good token to the services."""

    @web.middleware
    async def gate(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if request.method == "OPTIONS" or not request.path.startswith(f"{ROOT}/services"):
            return await handler(request)
        token = _token_of(request)
        if not token:
            return json_answer(error_document(499, "Token Required"))
        if not good(token):
            return json_answer(error_document(498, "Invalid Token"))
        return await handler(request)

    return gate


def _token_of(request: web.Request) -> str:
    for name in ("X-Esri-Authorization", "Authorization"):
        scheme, _, token = request.headers.get(name, "").partition(" ")
        if scheme.lower() == "bearer" and token:
            return token.strip()
    return request.query.get("token", "")


def token_desk(issue: TokenDesk) -> Callable[[web.Request], Awaitable[web.Response]]:
    """The handler of generateToken: a form with username and password in, a token out."""

    async def generate(request: web.Request) -> web.Response:
        form = await request.post()
        issued = issue(str(form.get("username", "")), str(form.get("password", "")))
        if issued is None:
            return json_answer(error_document(400, "Unable to generate token.", "Invalid username or password."))
        token, expires = issued
        return json_answer({"token": token, "expires": expires, "ssl": False})

    return generate
