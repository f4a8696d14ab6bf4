"""Tokens: when they are renewed, how they travel, and who shares them."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from harvester.errors import AuthError
from harvester.job import Auth
from harvester.sources.auth import Credentials, Style, Wallet, credentials_for
from harvester.sources.login import Login, token_service
from harvester.sources.open import Options, open_services
from harvester.sources.service_url import parse_service_url
from harvester.testing import ArcGisSite, FaultyService, Rule, Script, TicketOffice
from harvester.tiling.tile import Tile
from harvester.transport.session import Access, Session


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def login_of(service: FaultyService, session: Session, clock: Clock) -> Credentials:
    login = Login(
        url=f"{service.origin}/arcgis/tokens/generateToken",
        referer=service.origin,
        username="surveyor",
        password="canary-password",
    )
    return Credentials(login=login, session=session, clock=clock)


def test_a_token_is_renewed_a_minute_ahead_or_in_its_last_tenth() -> None:
    async def main() -> None:
        for lifetime, lead in ((3600.0, 60.0), (100.0, 10.0)):
            office = TicketOffice(lifetime_seconds=lifetime)
            clock = Clock()
            async with FaultyService(ArcGisSite(office=office)) as service, Session(Access(environ={})) as session:
                credentials = login_of(service, session, clock)
                assert credentials.present and credentials.renews_in is None and credentials.generation == 0
                await credentials.sign_in()
                await credentials.sign_in()
                assert office.sold == 1 and credentials.generation == 1
                assert credentials.renews_in == pytest.approx(lifetime - lead, abs=2.5)
                clock.now += lifetime
                assert credentials.renews_in == 0.0
                await credentials.renew()
                assert (office.sold, credentials.generation, credentials.style) == (2, 2, Style.HEADER)

    asyncio.run(main())


def test_a_fresh_token_that_was_refused_is_followed_by_one_in_the_query() -> None:
    async def main() -> None:
        async with FaultyService(ArcGisSite(office=TicketOffice())) as service, Session(Access(environ={})) as session:
            credentials = login_of(service, session, Clock())
            await credentials.sign_in()
            await credentials.renew()
            assert credentials.style is Style.QUERY and credentials.query.startswith("token=canary-")
            assert credentials.headers == (("Referer", service.origin),)

    asyncio.run(main())


def test_a_token_that_was_accepted_is_followed_by_one_that_travels_likewise() -> None:
    async def main() -> None:
        async with FaultyService(ArcGisSite(office=TicketOffice())) as service, Session(Access(environ={})) as session:
            credentials = login_of(service, session, Clock())
            await credentials.sign_in()
            await credentials.renew(accepted=True)
            assert (credentials.style, credentials.query) == (Style.HEADER, "")

    asyncio.run(main())


def test_a_given_token_goes_to_the_query_once_and_then_nothing_can_be_renewed() -> None:
    async def main() -> None:
        credentials = Credentials(token="a/b+c=")
        assert credentials.headers == (("X-Esri-Authorization", "Bearer a/b+c="),) and credentials.query == ""
        assert credentials.can_renew
        await credentials.renew()
        assert (credentials.query, credentials.headers) == ("token=a%2Fb%2Bc%3D", ())
        assert credentials.generation == 1 and not credentials.can_renew
        with pytest.raises(AuthError):
            await credentials.renew()

    asyncio.run(main())


def test_no_credentials_are_no_headers_and_no_renewal() -> None:
    credentials = Credentials()
    assert (credentials.headers, credentials.query, credentials.can_renew, credentials.present) == (
        (),
        "",
        False,
        False,
    )


def test_the_life_of_a_token_is_counted_by_the_clock_of_the_server() -> None:
    year = 365 * 86400.0
    body = json.dumps({"token": "canary", "expires": round((time.time() + year + 1200) * 1000)})
    ahead = Rule(kind="token", do="status", status=200, text=body, retry_after="soon", skew=year)

    async def main() -> None:
        async with FaultyService(script=Script(rules=(ahead,))) as service, Session(Access(environ={})) as session:
            credentials = login_of(service, session, Clock())
            await credentials.sign_in()
            assert credentials.renews_in == pytest.approx(1200 - 60, abs=5)

    asyncio.run(main())


def test_a_token_that_seems_to_have_ended_when_it_is_given_is_used_until_it_is_refused() -> None:
    """The clock of its server is behind, and there is no Date to tell: it isn't renewed again and again."""
    body = json.dumps({"token": "canary", "expires": round((time.time() - 1200) * 1000)})
    behind = Rule(kind="token", do="status", status=200, text=body)

    async def main() -> None:
        async with FaultyService(script=Script(rules=(behind,))) as service, Session(Access(environ={})) as session:
            credentials = login_of(service, session, Clock())
            await credentials.sign_in()
            assert credentials.renews_in is None

    asyncio.run(main())


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 400, "message": "Unable to generate token.", "details": ["canary-password"]}},
        {"error": {"code": 401, "message": "canary-password is wrong for surveyor"}},
        {"token": ""},
        {"token": 5},
        {"token": "a\r\nX-Evil: 1"},
        [],
    ],
)
def test_a_login_that_fails_is_an_auth_error_without_name_and_password(body: object) -> None:
    async def main() -> None:
        script = Script(rules=(Rule(kind="token", do="html", text=json.dumps(body)),))
        async with FaultyService(script=script) as service, Session(Access(environ={})) as session:
            credentials = login_of(service, session, Clock())
            with pytest.raises(AuthError) as caught:
                await credentials.sign_in()
            shown = (
                f"{caught.value!r} {caught.value.message} {caught.value.hint} {credentials!r} {credentials._login!r}"
            )
            assert "canary" not in shown and "surveyor" not in shown

    asyncio.run(main())


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"authInfo": {"tokenServicesUrl": "{o}/arcgis/tokens/"}}, "{o}/arcgis/tokens/generateToken"),
        ({"authInfo": {"tokenServicesUrl": "{o}/arcgis/tokens/generateToken"}}, "{o}/arcgis/tokens/generateToken"),
        ({"owningSystemUrl": "{o}/portal"}, "{o}/portal/sharing/rest/generateToken"),
        ({"authInfo": {"isTokenBasedSecurity": False}}, None),
        ({"authInfo": {"tokenServicesUrl": "file:///etc/passwd"}}, None),
        ([], None),
    ],
)
def test_the_token_service_is_what_the_server_says(info: object, expected: str | None) -> None:
    async def main() -> None:
        async with FaultyService() as service, Session(Access(environ={})) as session:
            text = json.dumps(info).replace("{o}", service.origin)
            service.script = Script(rules=(Rule(kind="info", do="html", text=text),))
            url = parse_service_url(service.url)
            if expected is None:
                with pytest.raises(AuthError):
                    await token_service(url, session)
            else:
                assert await token_service(url, session) == expected.replace("{o}", service.origin)

    asyncio.run(main())


def test_the_token_service_of_a_portal_is_its_own() -> None:
    async def main() -> None:
        async with Session(Access(environ={})) as session:
            for path in ("/portal/home/item.html?id=x", "/portal/sharing/rest/content/items/x", "/portal"):
                url = parse_service_url(f"https://gis.example.org{path}")
                assert await token_service(url, session) == "https://gis.example.org/portal/sharing/rest/generateToken"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("auth", "environ", "words"),
    [
        (Auth(token_env="T"), {}, "T is not set"),
        (Auth(token_env="T"), {"T": "  "}, "T is not set"),
        (Auth(token_env="T"), {"T": "a\nX-Evil: 1"}, "line break"),
        (Auth(token_env="T"), {"T": "é"}, "no token has"),
        (Auth(username="u", password_env="P"), {}, "P is not set"),
    ],
)
def test_credentials_that_are_not_there_are_named(auth: Auth, environ: dict[str, str], words: str) -> None:
    async def main() -> None:
        async with Session(Access(environ={})) as session:
            with pytest.raises(AuthError, match=words):
                url = parse_service_url("https://gis.example.org/arcgis/rest/services/X/MapServer")
                await credentials_for(url, auth, session, environ=environ)

    asyncio.run(main())


def test_layers_of_one_host_sign_in_once_and_renew_together(tmp_path: Path) -> None:
    async def main() -> None:
        office = TicketOffice()
        async with FaultyService(ArcGisSite(office=office)) as service, Session(Access(environ={})) as session:
            layers = [
                {"layerType": "ArcGISTiledMapServiceLayer", "url": service.url, "title": str(n)} for n in range(3)
            ]
            path = tmp_path / "map.json"
            path.write_text(json.dumps({"operationalLayers": layers}))
            auth = Auth(username="surveyor", password_env="P")
            opened = await open_services(str(path), session, Options(auth=auth, environ={"P": "canary-password"}))
            assert office.sold == 1
            one, two, _ = (layer.source for layer in opened.layers)
            before = two.request(Tile(1, 0, 0), 0)
            await one.renew()
            after = two.request(Tile(1, 0, 0), 0)
            assert office.sold == 2 and after.credential == two.credential > before.credential
            assert (after.path, after.host) != (before.path, before.host)

    asyncio.run(main())


def test_a_token_in_one_address_is_not_used_for_another() -> None:
    async def main() -> None:
        async with Session(Access(environ={})) as session:
            wallet = Wallet(Auth(), session, environ={})
            address = "https://gis.example.org/arcgis/rest/services/X/MapServer"
            with_token = await wallet.credentials_for(parse_service_url(f"{address}?token=canary"))
            assert with_token.present
            assert not (await wallet.credentials_for(parse_service_url(address))).present

    asyncio.run(main())
