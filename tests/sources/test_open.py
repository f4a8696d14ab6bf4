"""Opening a service as people type it, and harvesting from it, on a real loopback server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest

from harvester.edges import Host, Outcome, Request, TileFormat
from harvester.errors import AuthError, HarvesterError, SourceError, UsageError
from harvester.job import Auth, Job
from harvester.sources.open import Options, open_services, open_source
from harvester.testing import ArcGisSite, FaultyService, Rule, Script, TicketOffice, schemes
from harvester.tiling.tile import BlockKey, Tile
from harvester.transport.session import Access, Session, SessionTransport

T = TypeVar("T")


SLOW = {"drip", "drip_head", "stall", "stall_inside", "endless"}
TILES_ONLY = {"blank_tile", "wrong_size", "wrong_format"}
"""Acts that say nothing to a request for a document."""


async def no_sleep(seconds: float) -> None:
    """Back-off that costs no time."""


def session(*, allow_hosts: tuple[str, ...] = (), timeout_seconds: float = 10.0) -> Session:
    return Session(Access(allow_hosts=allow_hosts, timeout_seconds=timeout_seconds, environ={}), sleep=no_sleep)


def serving(
    site: ArcGisSite, use: Callable[[FaultyService, Session], Awaitable[T]], *rules: Rule, allow: tuple[str, ...] = ()
) -> T:
    """Run ``use`` against a service on loopback."""

    async def main() -> T:
        async with FaultyService(site, Script(rules=rules)) as service, session(allow_hosts=allow) as client:
            return await use(service, client)

    return asyncio.run(main())


def refusal(site: ArcGisSite, *rules: Rule, source: str = "{url}", options: Options | None = None) -> SourceError:
    """The error of opening it."""

    async def use(service: FaultyService, client: Session) -> SourceError:
        with pytest.raises(SourceError) as caught:
            await open_source(source.format(url=service.url, origin=service.origin), client, options)
        return caught.value

    return serving(site, use, *rules)


def test_tiles_of_an_opened_service_arrive_byte_for_byte() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url, client)
        tiles = [Tile(level, row, col) for level in (3, 4) for row in range(6) for col in range(6)]
        asked = iter(tiles)
        stored: dict[Tile, bytes] = {}

        def next_request() -> Request | None:
            tile = next(asked, None)
            return source.request(tile, 0) if tile is not None else None

        def done(request: Request, answer: object) -> None:
            verdict = source.judge(request, answer)  # type: ignore[arg-type]
            assert verdict.outcome is Outcome.WHOLE and verdict.kind == "png"
            stored[request.tile] = verdict.body

        transport = SessionTransport(Access(environ={}), connections=4)
        await transport.drain(next_request, done)  # type: ignore[arg-type]
        await transport.close()
        assert stored == {tile: service.site.body(tile) for tile in tiles}

    serving(ArcGisSite(), use)


@pytest.mark.parametrize(
    "ending",
    ["", "/", "?f=json", "/?f=pjson", "/tile/3/2/1", "/0", "/export?bbox=1,2,3,4", "?f=json#page", "/WMTS"],
)
def test_odd_endings_of_an_address_are_cut(ending: str) -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url + ending, client)
        assert source.info.source == source.info.identity == service.url
        assert source.info.name == "Streets"

    serving(ArcGisSite(), use)


def test_an_address_without_its_protocol_is_http_on_this_machine() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url.removeprefix("http://"), client)
        assert source.info.source == service.url

    serving(ArcGisSite(name="City/Streets"), use)


def test_the_kind_the_format_and_what_the_service_offers_are_read() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        info = (await open_source(service.url, client)).info
        assert (info.kind, info.tile_format, info.format_name) == ("arcgis-image", TileFormat.MIXED, "MIXED")
        assert (info.min_lod, info.max_lod, info.tilemap) == (2, 5, True)
        assert info.attribution == "Test data, public domain"
        assert any("exportTilesAllowed" in notice for notice in info.notices)

    serving(ArcGisSite(kind="image", format="MIXED", tilemap="on", min_lod=2, max_lod=5), use)


def test_a_scheme_of_another_crs_is_kept_as_stated() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        info = (await open_source(service.url, client)).info
        assert info.scheme == service.site.grid.scheme
        assert info.extent == service.site.grid.extent

    serving(ArcGisSite(grid=schemes.WEB_MERCATOR_512), use)


# ---- what can't be opened, and what is said


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"tileInfo": None}, "draws its pictures on request (no tileInfo)"),
        ({"singleFusedMapCache": False}, "singleFusedMapCache = false"),
        ({"tileInfo": None, "services": [{"name": "Roads", "type": "MapServer"}]}, "folder of services"),
        ({"tileInfo": 3}, "tileInfo is 3, not an object"),
    ],
)
def test_a_service_without_tiles_says_why(document: Mapping[str, object], words: str) -> None:
    error = refusal(ArcGisSite(document=document))
    assert error.exit_code == 3 and words in error.message and error.hint


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (Rule(kind="document", do="html"), "web page, not JSON"),
        (Rule(kind="document", do="status", status=404), "is not there (404)"),
        (Rule(kind="document", do="status", status=403), "refuses access (403)"),
        (Rule(kind="document", do="status", status=401), "wants a login (401)"),
        (Rule(kind="document", do="status", status=407), "the proxy wants a login"),
        (Rule(kind="document", do="status", status=500), "out of order (500)"),
        (Rule(kind="document", do="status", status=304), "has not changed (304), which nobody asked"),
        (Rule(kind="document", do="status", status=503, retry_after=86400), "out of order (503)"),
        (
            Rule(kind="document", do="json_error", status=499, text="Token Required"),
            "wants a token (499): Token Required",
        ),
        (Rule(kind="document", do="json_error", status=404, text="Service not found"), "Service not found"),
        (Rule(kind="document", do="truncate"), "broke off"),
        (Rule(kind="document", do="close_before"), "closed before an answer"),
        (Rule(kind="document", do="garbage"), "no valid HTTP"),
        (Rule(kind="document", do="redirect", to="http://elsewhere.example/"), "redirects to another host"),
        (Rule(kind="document", do="redirect", to="file:///etc/passwd"), "no http(s) URL"),
        (Rule(kind="document", do="redirect", to="loop"), "redirects more than 3 times"),
        (Rule(kind="document", do="redirect", to="login"), "is not there (404)"),
    ],
    ids=lambda value: f"{value.do}-{value.status}-{value.to}" if isinstance(value, Rule) else "",
)
def test_a_document_that_does_not_come_is_exit_3_in_words(rule: Rule, words: str) -> None:
    error = refusal(ArcGisSite(), rule)
    assert error.exit_code == 3
    assert words in error.message
    assert error.hint or "no http(s) URL" in words


def test_304_in_passing_is_asked_again() -> None:
    async def use(service: FaultyService, client: Session) -> str:
        return (await open_source(service.url, client)).info.source

    assert serving(ArcGisSite(), use, Rule(kind="document", do="status", status=304, requests="1"))


@pytest.mark.parametrize(
    ("source", "words", "kind"),
    [
        ("ftp://gis.example.org/x/MapServer", "no http(s) address", UsageError),
        ("file:///etc/passwd", "no http(s) address", UsageError),
        ("https://", "no http(s) address", UsageError),
        ("https://gis.example.org:99999/MapServer", "no http(s) address", UsageError),
        ("ftp://gis.example.org/home/item.html?id=0123", "no http(s) address", UsageError),
        ("https://gis.example.org/home/item.html?id=0/1", "names no item", UsageError),
        ("https://tiles.example.org/{{z}}/{{x}}/{{y}}.png", "tile template", UsageError),
        ("nothere", "neither a file here nor an address", UsageError),
        ("C:/x/server.ags/Streets.MapServer", "neither a file here nor an address", UsageError),
        ("C:\\x\\server.ags\\Streets.MapServer", "neither a file here nor an address", UsageError),
        ("{origin}/arcgis/rest/services/Streets/FeatureServer/0", "feature service", SourceError),
        ("missing-map.json", "is not there", SourceError),
    ],
)
def test_what_is_no_service_is_refused_before_anything_is_asked(
    source: str, words: str, kind: type[HarvesterError]
) -> None:
    async def use(service: FaultyService, client: Session) -> None:
        with pytest.raises(kind) as caught:
            await open_source(source.format(origin=service.origin), client)
        assert words in caught.value.message
        assert len(service.log) == 0

    serving(ArcGisSite(), use)


def test_a_document_that_is_out_of_order_for_a_moment_is_asked_again() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        assert (await open_source(service.url, client)).info.name == "Streets"
        assert service.log.count("document") == 4

    serving(
        ArcGisSite(),
        use,
        Rule(kind="document", requests="1", do="status", status=503),
        Rule(kind="document", requests="2", do="json_error", status=500),
        Rule(kind="document", requests="3", do="reset_before"),
    )


def test_a_latin_1_document_is_read() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        assert (await open_source(service.url, client)).info.attribution == "Prefeitura de São Paulo"

    import json

    raw = json.dumps(ArcGisSite(copyright="Prefeitura de São Paulo").describe(), ensure_ascii=False).encode("latin-1")
    serving(ArcGisSite(raw_document=raw), use)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(constant: str) -> None:
    error = refusal(ArcGisSite(raw_document=b'{"tileInfo": {"rows": ' + constant.encode() + b"}}"))
    assert "not valid JSON" in error.message and constant in error.message


@pytest.mark.parametrize("depth", [65, 5_000, 200_000])
def test_a_deeply_nested_document_is_refused(depth: int) -> None:
    error = refusal(ArcGisSite(raw_document=b'{"a":' * depth + b"1" + b"}" * depth))
    assert "nested deeper" in error.message


def test_a_redirect_to_an_allowed_host_is_followed_without_credentials() -> None:
    async def main() -> None:
        async with FaultyService() as real:
            rule = Rule(kind="document", do="redirect", to=real.url + "?f=json")
            async with (
                FaultyService(script=Script(rules=(rule,))) as front,
                session(allow_hosts=(f"127.0.0.1:{real.port}",)) as client,
            ):
                options = Options(headers=(("X-Canary", "secret"),), auth=Auth(token_env="T"), environ={"T": "canary"})
                source = await open_source(front.url, client, options)
                tile = source.request(Tile(1, 0, 0), 0)
                assert (tile.host.port, tile.host.headers) == (real.port, ())
                assert source.info.source == real.url
                assert front.log[0].headers["x-canary"] == "secret"
                assert "canary" in front.log[0].headers["x-esri-authorization"]
                assert not any(word in real.log[0].raw.lower() for word in (b"x-canary", b"canary", b"secret"))

    asyncio.run(main())


def test_a_service_that_moved_is_asked_where_it_is_now() -> None:
    rule = Rule(kind="other", do="redirect", to="/arcgis/rest/services/Streets/MapServer?f=json")

    async def use(service: FaultyService, client: Session) -> None:
        typed = f"{service.origin}/old/rest/services/Streets/MapServer?token={SECRET}"
        source = await open_source(typed, client)
        assert source.info.source == service.url
        assert source.request(Tile(1, 0, 0), 0).path.startswith(service.site.path)
        assert source.request(Tile(1, 0, 0), 0).host.headers, "the same host keeps its token"

    serving(ArcGisSite(), use, rule)


# ---- credentials

SECRET = "canary-0123456789"


def secured(**office: object) -> ArcGisSite:
    return ArcGisSite(office=TicketOffice(tokens={SECRET}, **office), tilemap="on")  # type: ignore[arg-type]


@pytest.mark.parametrize("refused_as", ["json", "status", "unauthorised"])
def test_a_token_in_the_address_is_used_and_cut(refused_as: str) -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(f"{service.url}?token={SECRET}", client)
        tile = source.request(Tile(1, 0, 0), 0)
        assert SECRET not in source.info.source + source.info.identity + repr(source) + repr(source.info) + repr(
            tile.host
        )
        assert ("X-Esri-Authorization", f"Bearer {SECRET}") in tile.host.headers
        assert "token" not in tile.path

    serving(secured(refusal=refused_as), use)


def test_a_token_from_the_environment_goes_to_tiles_and_tilemap_too() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        options = Options(auth=Auth(token_env="GIS_TOKEN"), environ={"GIS_TOKEN": f" {SECRET}\n"})
        source = await open_source(service.url, client, options)
        window = source.window(BlockKey(3, 0, 0))
        assert window is not None and window.host == source.request(Tile(3, 0, 0), 0).host
        assert not source.info.source.endswith("token") and source.renews_in is None

    serving(secured(), use)


def test_a_server_that_ignores_the_header_gets_the_token_in_the_query() -> None:
    rule = Rule(kind="document", requests="1", do="json_error", status=499)

    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(f"{service.url}?token={SECRET}", client)
        request = source.request(Tile(1, 0, 0), 0)
        assert request.path.endswith(f"?token={SECRET}")
        assert not any(SECRET in value for _, value in request.host.headers)
        assert not source.can_renew

    serving(secured(), use, rule)


def test_missing_and_refused_tokens_are_auth_errors_without_the_secret() -> None:
    missing = refusal(secured())
    assert isinstance(missing, AuthError) and "--token-env" in missing.hint
    wrong = refusal(secured(), source="{url}?token=canary-wrong")
    assert isinstance(wrong, AuthError) and "although credentials were given" in wrong.message
    assert "canary-wrong" not in wrong.message + wrong.hint + str(wrong) + repr(wrong)
    unset = refusal(secured(), options=Options(auth=Auth(token_env="GIS_TOKEN"), environ={}))
    assert isinstance(unset, AuthError) and "GIS_TOKEN is not set" in unset.message


def login(password: str = "canary-password") -> Options:
    return Options(auth=Auth(username="surveyor", password_env="GIS_PASSWORD"), environ={"GIS_PASSWORD": password})


def test_a_login_finds_its_token_service_and_signs_in() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url, client, login())
        form = service.log.of("token")[0].form
        assert (form["client"], form["referer"], form["f"]) == ("referer", service.origin, "json")
        assert int(form["expiration"]) > 0
        headers = dict(source.request(Tile(1, 0, 0), 0).host.headers)
        assert headers["Referer"] == service.origin
        assert source.can_renew and source.credential == 1
        assert source.renews_in is not None and 3000 < source.renews_in < 3600
        assert "canary" not in repr(source)

    serving(secured(), use)


def test_a_wrong_password_is_an_auth_error_without_it() -> None:
    error = refusal(secured(), options=login("canary-wrong"))
    assert isinstance(error, AuthError) and "refuses the login" in error.message
    assert "canary" not in error.message + error.hint and "surveyor" not in error.message + error.hint


def test_many_renewals_at_once_are_one_login() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url, client, login())
        before = source.request(Tile(1, 0, 0), 0)
        await asyncio.gather(*(source.renew() for _ in range(20)))
        after = source.request(Tile(1, 0, 0), 0)
        assert service.log.count("token") == 2
        assert source.credential > before.credential and after.credential == source.credential
        assert (before.host, before.path) != (after.host, after.path)

    serving(secured(), use)


def test_a_token_service_on_another_host_never_sees_the_password() -> None:
    rule = Rule(kind="info", do="answer")

    async def main() -> None:
        async with FaultyService() as stranger, FaultyService(secured(), Script(rules=(rule,))) as service:
            import json

            info = {"authInfo": {"tokenServicesUrl": f"{stranger.origin}/arcgis/tokens/generateToken"}}
            service.script = Script(rules=(Rule(kind="info", do="html", text=json.dumps(info)),))
            async with session() as client:
                with pytest.raises(AuthError) as caught:
                    await open_source(service.url, client, login())
            assert "another host" in caught.value.message
            assert f"--allow-host 127.0.0.1:{stranger.port}" in caught.value.hint
            assert len(stranger.log) == 0

    asyncio.run(main())


def test_a_password_is_not_sent_in_the_clear() -> None:
    from harvester.sources.login import token_service
    from harvester.sources.service_url import parse_service_url

    url = parse_service_url("http://gis.example.org/arcgis/rest/services/X/MapServer")

    class Stub(Session):
        async def get_json(self, url: str, **_: object) -> object:  # type: ignore[override]
            return {"authInfo": {"tokenServicesUrl": "http://gis.example.org/arcgis/tokens/"}}, None

    async def main() -> None:
        async with Stub(Access(environ={})) as client:
            with pytest.raises(AuthError, match="not https"):
                await token_service(url, client)

    asyncio.run(main())


# ---- headers and tile servers


def test_headers_go_to_the_document_and_to_tiles_of_the_source() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        job = Job(source=service.url, headers={"Referer": "https://app.example.org", "X-Key": "k"}, tilemap=False)
        source = await open_source(service.url, client, Options.of(job))
        assert service.log[0].headers["referer"] == "https://app.example.org"
        assert dict(source.request(Tile(1, 0, 0), 0).host.headers) == dict(job.headers)
        assert source.window(BlockKey(1, 0, 0)) is None, "--tilemap off"

    serving(ArcGisSite(tilemap="on"), use)


def test_tiles_are_shared_out_over_trusted_tile_servers_by_row() -> None:
    site = ArcGisSite()

    async def use(service: FaultyService, client: Session) -> None:
        site.tile_servers = (
            f"{service.origin}/one/MapServer/",
            "http://tiles.example.org/two/MapServer",
            "http://stranger.example.net/three/MapServer",
            "file:///etc/passwd",
            f"{service.origin}/tiles{{1..4}}/MapServer",
        )
        source = await open_source(service.url, client)
        asked = [source.request(Tile(4, row, 7), 0) for row in range(4)]
        assert [request.host.name for request in asked] == ["127.0.0.1", "tiles.example.org"] * 2
        assert asked[0].path == "/one/MapServer/tile/4/0/7?blankTile=false"
        assert asked[1].path == "/two/MapServer/tile/4/1/7?blankTile=false"
        for tile in (Tile(4, 0, 7), Tile(4, 1, 7)):
            paths = [source.at(source.request(tile, 2), host).path for host in source.hosts]
            assert paths == [f"/{name}/MapServer/tile/4/{tile.row}/7?blankTile=false" for name in ("one", "two")]
            assert [source.at(source.request(tile, 2), host).host for host in source.hosts] == list(source.hosts)
            assert source.at(source.request(tile, 2), source.hosts[1]).attempt == 2
        notices = " ".join(source.info.notices)
        assert "stranger.example.net" in notices and "--allow-host stranger.example.net" in notices
        assert "file:///etc/passwd" in notices

    serving(site, use, allow=("tiles.example.org",))


def test_without_trusted_tile_servers_the_service_itself_is_asked() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        source = await open_source(service.url, client)
        assert source.request(Tile(4, 1, 7), 0).host == Host(scheme="http", name="127.0.0.1", port=service.port)

    serving(ArcGisSite(tile_servers=("https://stranger.example.net/x/MapServer",)), use)


def test_nothing_but_a_harvester_error_leaves_opening_a_broken_service(tmp_path: Path) -> None:
    from harvester.testing.acts import ACTS

    for act in sorted(ACTS):
        if act in SLOW or act in TILES_ONLY:
            continue

        async def use(service: FaultyService, client: Session) -> None:
            try:
                await open_source(f"{service.url}?token=canary", client)
            except HarvesterError as error:
                assert error.exit_code == 3
                assert "canary" not in f"{error.message} {error.hint}"

        serving(
            ArcGisSite(), use, Rule(kind="document", do=act, to="loop", bytes=1_000_000 if act == "gzip_bomb" else 0)
        )


def test_one_service_opens_as_one_layer() -> None:
    async def use(service: FaultyService, client: Session) -> None:
        opened = await open_services(service.url, client)
        assert [layer.name for layer in opened.layers] == ["Streets"] and not opened.is_map
        assert opened.source == service.url

    serving(ArcGisSite(), use)


def test_options_and_access_hold_no_secret_in_their_repr() -> None:
    options = replace(login(), headers=(("Cookie", "canary"),))
    access = Access(proxy="http://user:canary@proxy.example.org", environ={"T": "canary"})
    assert "canary" not in repr(options) + repr(access)
