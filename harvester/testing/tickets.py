"""Tokens of a secured service: who gets one, how long it holds, and how a request without a good one is refused."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from harvester.testing.log import Asked
from harvester.testing.reply import Reply

JSON = "application/json; charset=utf-8"

REFUSALS = ("json", "status", "html", "unauthorised")
"""How services refuse: an ArcGIS error in a 200, HTTP 498 or 499, a page in a 200 that says Invalid Token, HTTP 401."""


@dataclass(kw_only=True, eq=False)
class TicketOffice:
    """Sells tokens for a user name and a password, and checks them on documents, tiles and tilemaps."""

    username: str = "surveyor"
    password: str = "canary-password"
    tokens: set[str] = field(default_factory=set)
    """Tokens that hold now; ones put here by hand never expire by time."""
    lifetime_seconds: float = 3600.0
    """What ``expires`` of a sold token says, and how long it holds."""
    uses: int | None = None
    """A sold token ends after so many tile requests, whatever it said when it was sold."""
    stand_ins: int = 0
    """A token that has ended gets one and the same picture for so many tiles before it is refused at last."""
    stand_ins_stay: bool = False
    """After that first time it gets the picture again: the servers of a site do not learn of its end together."""
    refusal: str = "json"
    open_document: bool = False
    """The service document needs no token."""
    federated: bool = False
    """The server belongs to a portal and takes tokens of its own only: a login gives the portal's, and a portal's token
    with ``serverUrl`` gives the server's."""
    portal: str = ""
    """The portal's address; empty: ``/portal`` of the same host."""
    portal_tokens: set[str] = field(default_factory=set)
    """Tokens that the portal knows; ones put here by hand never end."""
    exchanged: list[str] = field(default_factory=list)
    """The ``serverUrl`` of each token that was exchanged."""
    wall: Callable[[], float] = time.time
    sold: int = 0
    """How many tokens were given out."""
    refused: int = 0
    """How many requests were refused for their token."""
    stood_in: int = 0
    """How many got a picture in the place of their tile."""
    _ends: dict[str, float] = field(default_factory=dict)
    _used: dict[str, int] = field(default_factory=dict)
    _since: dict[str, int] = field(default_factory=dict)
    """Tile requests with a token that has ended."""

    def __post_init__(self) -> None:
        if self.refusal not in REFUSALS:
            raise ValueError(f"refusal is one of {', '.join(REFUSALS)}")

    def token(self, number: int) -> str:
        """The token that is sold as the ``number``th, from 1."""
        return "canary-" + hashlib.blake2b(f"{self.username}/{number}".encode(), digest_size=16).hexdigest()

    def expire(self) -> None:
        """Every token given out so far ends now, as after a server restart."""
        self.tokens.clear()

    def sell(self, asked: Asked) -> Reply:
        """generateToken: a POST of username and password."""
        form = asked.form
        if asked.method != "POST":
            return _json({"error": {"code": 405, "message": "Use POST.", "details": []}})
        if self.federated and "token" in form:
            if form["token"] not in self.portal_tokens or not form.get("serverUrl"):
                return _json({"error": {"code": 498, "message": "Invalid token.", "details": []}})
            self.exchanged.append(form["serverUrl"])
            return self._sold(self.tokens)
        if (form.get("username"), form.get("password")) != (self.username, self.password):
            details = ["Invalid username or password."]
            return _json({"error": {"code": 400, "message": "Unable to generate token.", "details": details}})
        return self._sold(self.portal_tokens if self.federated else self.tokens)

    def _sold(self, known: set[str]) -> Reply:
        self.sold += 1
        token = self.token(self.sold)
        end = self.wall() + self.lifetime_seconds
        known.add(token)
        self._ends[token] = end
        return _json({"token": token, "expires": round(end * 1000), "ssl": False})

    def check(self, asked: Asked, stand_in: Callable[[], Reply] | None = None) -> Reply | None:
        """None for a good token, else the refusal, or the picture that ``stand_in`` gives."""
        if asked.kind == "document" and self.open_document:
            return None
        token = token_of(asked)
        if token in self.tokens:
            if asked.kind == "tile":
                self._used[token] = self._used.get(token, 0) + 1
            worn = self.uses is not None and token in self._ends and self._used.get(token, 0) > self.uses
            if not worn and self.wall() < self._ends.get(token, float("inf")):
                return None
            self.tokens.discard(token)
        if asked.kind == "tile" and token in self._ends and stand_in is not None and self.stand_ins:
            number = self._since[token] = self._since.get(token, 0) + 1
            if number <= self.stand_ins or (self.stand_ins_stay and number > self.stand_ins + 1):
                self.stood_in += 1
                return stand_in()
        self.refused += 1
        return self._refuse(498 if token else 499)

    def _refuse(self, code: int) -> Reply:
        message = "Invalid Token" if code == 498 else "Token Required"
        body = {"error": {"code": code, "message": message, "details": []}}
        if self.refusal == "json":
            return _json(body)
        if self.refusal == "status":
            return _json(body, status=code)
        if self.refusal == "html":
            page = f"<html><body><h1>{message}</h1></body></html>"
            return Reply(body=page.encode(), content_type="text/html")
        return Reply(status=401, body=b"<html><body>Unauthorized</body></html>", content_type="text/html")


def token_of(asked: Asked) -> str:
    """The token that a request carries: in X-Esri-Authorization, in Authorization, or in the query; empty: none."""
    for name in ("x-esri-authorization", "authorization"):
        word, _, token = asked.headers.get(name, "").partition(" ")
        if word.lower() == "bearer":
            return token.strip()
    return asked.query.get("token", "")


def _json(document: object, status: int = 200) -> Reply:
    return Reply(status=status, body=json.dumps(document).encode(), content_type=JSON)
