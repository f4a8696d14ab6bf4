"""Servers that belong to a portal and refuse its token: it is exchanged there for one of theirs, and renewed so."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from harvester.errors import AuthError
from harvester.job import Auth
from harvester.sources.arcgis import ArcGisSource
from harvester.sources.open import Options, open_source
from harvester.testing import ArcGisSite, FaultyService, Rule, Script, TicketOffice
from harvester.testing.tickets import token_of
from harvester.tiling.tile import Tile
from harvester.transport.session import Access, Session

PORTAL_TOKEN = "canary-portal-token"
ENVIRON = {"TOKEN": PORTAL_TOKEN, "PASSWORD": "canary-password"}
BY_TOKEN = Auth(token_env="TOKEN")
BY_LOGIN = Auth(username="surveyor", password_env="PASSWORD")


def office(**settings: object) -> TicketOffice:
    return TicketOffice(federated=True, portal_tokens={PORTAL_TOKEN}, **settings)  # type: ignore[arg-type]


@pytest.fixture
def service() -> Iterator[FaultyService]:
    with FaultyService(ArcGisSite(office=office())) as running:
        yield running


def opened(service: FaultyService, auth: Auth, **access: object) -> ArcGisSource:
    async def main() -> ArcGisSource:
        async with Session(Access(environ={}, **access)) as session:  # type: ignore[arg-type]
            return await open_source(service.url, session, Options(auth=auth, environ=ENVIRON))

    return asyncio.run(main())


def office_of(service: FaultyService) -> TicketOffice:
    found = service.site.office
    assert found is not None
    return found


@pytest.mark.parametrize("auth", [BY_TOKEN, BY_LOGIN], ids=["a token", "a login"])
def test_a_portals_token_is_exchanged_for_one_of_a_server_that_refuses_it(service, auth):
    source = opened(service, auth)
    sold = office_of(service)
    assert sold.exchanged == [f"{service.origin}/arcgis"]
    host = source.request(Tile(0, 0, 0), 0).host
    assert dict(host.headers)["X-Esri-Authorization"] == f"Bearer {sold.token(sold.sold)}"
    assert dict(host.headers)["Referer"] == service.origin
    last = service.log.of("document")[-1]
    assert token_of(last) in sold.tokens
    forms = [asked.form for asked in service.log.of("token")]
    assert forms[-1]["request"] == "getToken" and forms[-1]["serverUrl"] == f"{service.origin}/arcgis"
    assert "password" not in forms[-1]
    assert not any("canary" in asked.target for asked in service.log.of("token"))


@pytest.mark.parametrize("auth", [BY_TOKEN, BY_LOGIN], ids=["a token", "a login"])
def test_a_servers_token_is_renewed_by_another_exchange(service, auth):
    async def main() -> None:
        async with Session(Access(environ={})) as session:
            source = await open_source(service.url, session, Options(auth=auth, environ=ENVIRON))
            before = source.credential
            assert source.can_renew and source.renews_in is not None
            await source.renew()
            assert source.credential > before
            assert len(office_of(service).exchanged) == 2

    asyncio.run(main())


def test_a_server_that_takes_its_portals_token_needs_no_exchange():
    known = TicketOffice(federated=True, portal_tokens={PORTAL_TOKEN}, tokens={PORTAL_TOKEN})
    with FaultyService(ArcGisSite(office=known)) as service:
        opened(service, BY_TOKEN)
        assert (known.exchanged, service.log.count("token"), service.log.count("info")) == ([], 0, 0)


def test_a_token_that_the_portal_does_not_know_is_an_auth_error_that_says_so():
    with FaultyService(ArcGisSite(office=TicketOffice(federated=True))) as service:
        with pytest.raises(AuthError, match="gives no token for its server") as caught:
            opened(service, BY_TOKEN)
        assert caught.value.hint
        assert "canary" not in caught.value.message


def test_a_server_without_a_portal_refuses_as_before():
    with FaultyService(ArcGisSite(office=TicketOffice())) as service:
        with pytest.raises(AuthError, match="although credentials were given"):
            opened(service, BY_TOKEN)
        assert service.log.count("token") == 0


@pytest.mark.parametrize("do", ["status", "garbage", "html"])
def test_a_server_that_cannot_say_its_portal_refuses_as_before(service, do):
    service.script = Script(rules=(Rule(do=do, status=404, kind="info"),))
    with pytest.raises(AuthError, match="although credentials were given"):
        opened(service, BY_TOKEN)


def test_a_portal_on_another_host_sees_the_token_only_where_it_is_allowed():
    shared = office()
    with FaultyService(ArcGisSite(office=shared)) as portal, FaultyService(ArcGisSite(office=shared)) as service:
        shared.portal = f"{portal.origin}/portal"
        with pytest.raises(AuthError, match="the token would go there") as caught:
            opened(service, BY_TOKEN)
        assert f"--allow-host 127.0.0.1:{portal.port}" in caught.value.hint
        assert len(portal.log) == 0
        opened(service, BY_TOKEN, allow_hosts=(f"127.0.0.1:{portal.port}",))
        assert portal.log.count("token") == 1
        assert shared.exchanged == [f"{service.origin}/arcgis"]


def test_403_is_no_reason_to_exchange(service):
    service.script = Script(rules=(Rule(do="status", status=403, kind="document"),))
    with pytest.raises(AuthError, match="403"):
        opened(service, BY_TOKEN)
    assert office_of(service).exchanged == []
