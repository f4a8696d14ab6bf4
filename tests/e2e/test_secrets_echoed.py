"""A server that repeats what it was shown: in documents, names, error messages, pages, headers, redirects. None of it
comes out anywhere."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from harvester.cli.frame import run
from harvester.cli.main import VERBS
from harvester.testing.script import Rule
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.tickets import TicketOffice
from tests.e2e.claims import everything_in, script
from tests.e2e.conftest import Result

TOKEN = "Tok3n/+with==odd~signs"
PASSWORD = 'p@ss w"rd&<1>'
USER = "surveyor"
HEADER = "hdr-5ecret;x=1"
COOKIE = "c00kie-5ecret"
OFFICE = TicketOffice(username=USER)
GRANTED = OFFICE.token(1)
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

SECRETS = {"token": TOKEN, "password": PASSWORD, "header": HEADER, "cookie": COOKIE, "granted": GRANTED, "basic": BASIC}

SMALL = ("--lods", "0-2")
HEADERS = ("--header", f"X-Api-Key: {HEADER}", "--header", f"Cookie: session={COOKIE}")
WAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "address": ("?token=" + quote(TOKEN, safe=""), HEADERS),
    "environment": ("", ("--token-env", "MAP_TOKEN", *HEADERS)),
    "login": ("", ("--username", USER, "--password-env", "MAP_PASSWORD", *HEADERS)),
    "basic": ("@", ("--token-env", "MAP_TOKEN", *HEADERS)),
}
SHOWN = {
    "address": ("token", "header", "cookie"),
    "environment": ("token", "header", "cookie"),
    "login": ("password", "granted", "header", "cookie"),
    "basic": ("token", "password", "basic", "header", "cookie"),
}
"""What each way shows to the server, which it then can repeat."""


def spellings(secret: str) -> set[str]:
    """The ways in which a text may hold it."""
    encoded = quote(secret, safe="")
    return {
        secret,
        encoded,
        encoded.lower(),
        quote_plus(secret),
        escape(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret.encode().decode("latin-1"))[1:-1],
    }


def echo(way: str) -> str:
    """What the server says: every secret that it was shown, in every spelling, as words of its own."""
    return " ".join(f"I saw {text} here" for name in SHOWN[way] for text in sorted(spellings(SECRETS[name])))


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MAP_TOKEN", TOKEN)
    monkeypatch.setenv("MAP_PASSWORD", PASSWORD)
    monkeypatch.chdir(tmp_path)


class Said:
    """Runs commands and keeps all that they say."""

    def __init__(self, capsys: pytest.CaptureFixture[str], folder: Path) -> None:
        self._capsys = capsys
        self._folder = folder
        self.text = ""

    def __call__(self, *arguments: object) -> Result:
        self._capsys.readouterr()
        code = run([str(one) for one in (*arguments, "--debug", "--log-file", "log.txt")], VERBS)
        result = Result(code, *self._capsys.readouterr())
        self.text += result.out + result.err
        return result

    def leaks(self, way: str) -> list[str]:
        """Surroundings of every secret found in what was said, in files, or in names of files."""
        files = everything_in(self._folder).decode("latin-1")
        found = []
        for name in SHOWN[way]:
            for spelled in spellings(SECRETS[name]):
                for place, text in (
                    ("said", self.text),
                    ("file", files),
                    ("file", files.encode("latin-1").decode("utf-8", "replace")),
                ):
                    at = text.find(spelled)
                    if at >= 0:
                        found.append(f"{place} {name}: …{text[max(0, at - 100) : at + 60]}")
        return found


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Said]:
    yield Said(capsys, tmp_path)


def secured(way: str) -> ArcGisSite:
    site = ArcGisSite(office=TicketOffice(tokens={TOKEN}, username=USER, password=PASSWORD), tilemap="on")
    words = echo(way)
    site.document = {
        "copyrightText": words,
        "serviceDescription": words,
        "description": words,
        "mapName": words,
        "documentInfo": {"Title": words, "Author": words, "Keywords": words},
        "layers": [{"id": 0, "name": words}],
    }
    return site


def typed(service: FaultyService, way: str) -> tuple[str, ...]:
    end, options = WAYS[way]
    if end == "@":
        return (service.url.replace("//", f"//{USER}:{quote(PASSWORD, safe='')}@"), *options)
    return (service.url + end, *options)


@pytest.mark.parametrize(
    ("way", "out"),
    [
        ("address", "out.mbtiles"),
        ("environment", "out.tpkx"),
        ("login", "out"),
        ("basic", "out.gpkg"),
        ("login", "out.pmtiles"),
    ],
)
def test_what_a_service_document_repeats_is_in_no_output_and_no_file(serve, said, way, out):
    service = serve(secured(way), script(Rule(do="answer", headers={"ETag": SECRETS[SHOWN[way][0]], "X-Echo": "e"})))
    source = typed(service, way)
    assert said("scales", *source).code == 0
    assert said("scales", *source, "--json").code == 0
    assert said("plan", *source, *SMALL, "--json").code == 0
    assert said("run", *source, *SMALL, "-o", out, "--report", "report.json", "--progress", "json").code == 0
    assert said("run", *source, "--lods", "0-3", "-o", out, "--max-tiles", "20", "--json").code == 1
    assert said("tile", *source, "0/0/0", "-o", "tile.png").code == 0
    assert said("tile", *source, "0/0/0", "-o", "tile.png", "--json").code == 0
    for verb in ("verify", "info", "holes", "report"):
        said(verb, out)
        said(verb, out, "--json")
    said("why", out, "2/1/1")
    said("why", out, "2/1/1", "--json")
    assert said("report", out, "--html", "report.html").code == 0
    assert "I saw" in said.text
    assert said.leaks(way) == []


ECHOES: dict[str, Callable[[str], tuple[Rule, ...]]] = {
    "tile 500": lambda words: (Rule(do="status", status=500, text=words, share=0.5),),
    "tile 400 in a 200": lambda words: (Rule(do="json_error", status=400, text=words, share=0.5),),
    "tile 498 in a 200": lambda words: (Rule(do="json_error", status=498, text=words),),
    "tile page": lambda words: (Rule(do="html", text=f"<html>{words}</html>"),),
    "tile redirect": lambda words: (Rule(do="redirect", to="/moved/" + quote(words[:300])),),
    "tile garbage": lambda words: (Rule(do="garbage", text=words[:200].replace("\n", " "), share=0.5),),
    "tilemap": lambda words: (Rule(do="json_error", status=500, text=words, kind="tilemap"),),
    "document 400": lambda words: (Rule(do="json_error", status=400, text=words, kind="document"),),
    "document 498": lambda words: (Rule(do="json_error", status=498, text=words, kind="document"),),
    "document 403": lambda words: (Rule(do="status", status=403, text=json_error(words), kind="document"),),
    "document page": lambda words: (Rule(do="html", text=f"<html>{words}</html>", kind="document"),),
    "document no JSON": lambda words: (Rule(do="html", text='{"x": ' + words, kind="document"),),
    "document another shape": lambda words: (Rule(do="html", text=json.dumps({words: words}), kind="document"),),
    "document redirect": lambda words: (Rule(do="redirect", to="/moved/" + quote(words[:300]), kind="document"),),
    "document elsewhere": lambda words: (
        Rule(do="redirect", to="http://other.invalid/" + quote(words[:300]), kind="document"),
    ),
    "token 400": lambda words: (Rule(do="json_error", status=400, text=words, kind="token"),),
    "token another shape": lambda words: (Rule(do="html", text=json.dumps({"token": 5, words: 1}), kind="token"),),
    "info": lambda words: (Rule(do="json_error", status=500, text=words, kind="info"),),
    "info elsewhere": lambda words: (
        Rule(do="html", text=json.dumps({"authInfo": {"tokenServicesUrl": f"ftp://{words}"}}), kind="info"),
    ),
    "bad levels": lambda words: (
        Rule(do="html", text=json.dumps({"tileInfo": {"lods": [{"level": words}], "format": words}}), kind="document"),
    ),
}


def json_error(words: str) -> str:
    return json.dumps({"error": {"code": 403, "message": words, "details": [words]}})


@pytest.mark.parametrize(
    ("fault", "way"),
    [
        *zip(ECHOES, cycle(["environment", "login", "basic"]), strict=False),
        *((fault, "login") for fault in ECHOES if fault.startswith(("token", "info"))),
    ],
)
def test_what_an_error_repeats_is_in_no_output_and_no_file(serve, said, way, fault):
    service = serve(secured(way), script(*ECHOES[fault](echo(way))))
    hasty = ("--timeout", "20", "--retries", "0", "--give-up-after", "2", "--report", "report.json")
    result = said("run", *typed(service, way), *SMALL, "-o", "out.mbtiles", *hasty, "--json")
    assert result.code in (0, 1, 3)
    if Path("out.mbtiles.ledger").exists():
        for verb in ("verify", "report", "holes"):
            said(verb, "out.mbtiles", "--json")
        said("report", "out.mbtiles", "--html", "report.html")
        said("why", "out.mbtiles", "2/1/1")
    never_given = fault.startswith(("token", "info"))  # then the server speaks of a token that nobody else has
    assert [leak for leak in said.leaks(way) if not (never_given and " granted:" in leak)] == []


def test_a_layer_that_is_named_like_a_secret_makes_no_file_of_that_name(serve, said, tmp_path):
    service = serve(secured("environment"))
    layer: dict[str, Any] = {
        "layerType": "ArcGISTiledMapServiceLayer", "url": service.url, "title": f"roads {TOKEN} {HEADER}",
    }  # fmt: skip
    item, web_map = {"type": "Web Map", "title": TOKEN}, {"operationalLayers": [layer]}
    service.script = script(
        Rule(do="html", kind="other", path="*/data", text=json.dumps(web_map)),
        Rule(do="html", kind="other", path="*/content/items/*", text=json.dumps(item)),
    )
    portal = f"{service.origin}/portal/home/item.html?id={'a' * 32}"
    assert said("run", portal, *WAYS["environment"][1], *SMALL, "-o", "maps/").code == 0
    assert [path.suffix for path in (tmp_path / "maps").iterdir()].count(".tpkx") == 1
    assert said.leaks("environment") == []


def test_a_defect_shows_no_secret_though_it_stands_there_as_plain_text(serve, said, monkeypatch):
    service = serve(secured("login"))
    crashed: list[bool] = []

    def crash(*arguments: object, **settings: object) -> Any:
        crashed.append(True)
        try:
            raise OSError(f"the server said {echo('login')}")
        except OSError as cause:
            raise ZeroDivisionError(f"and then {echo('login')}") from cause

    from harvester.assemble import layer

    with monkeypatch.context() as patch:
        patch.setattr(layer, "transport_for", crash)
        result = said("run", *typed(service, "login"), *SMALL, "-o", "out", "--json")
    assert crashed and result.code == 1
    assert "a defect of harvester" in result.err and "Traceback" in result.err
    assert said.leaks("login") == []
