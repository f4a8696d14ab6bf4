"""Who may see what, over which way: tokens and logins, headers, other hosts, certificates, proxies."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

import pytest
import trustme

from harvester.testing.proxy import ProxyServer
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.tickets import REFUSALS, TicketOffice
from tests.e2e.claims import HASTY, PATIENT, SMALL, TILES, failures, held, poisoned, script, sums_hold

TOKEN = "canary-token-4711"
PASSWORD = "canary-password"
LOGIN = ("--username", "surveyor", "--password-env", "MAP_PASSWORD")
RUN = ("-o", "out.mbtiles", *SMALL, *HASTY)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's own secrets, and no proxy or bundle of the machine's."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MAP_TOKEN", TOKEN)
    monkeypatch.setenv("MAP_PASSWORD", PASSWORD)


def secured(**office: object) -> ArcGisSite:
    return ArcGisSite(office=TicketOffice(**office))


# ------------------------------------------------------------------------------------------------ tokens


@pytest.mark.parametrize("refusal", REFUSALS)
@pytest.mark.parametrize("way", ["environment", "address"])
def test_a_token_opens_a_secured_service_and_travels_in_a_header(serve, cli, way, refusal):
    service = serve(secured(tokens={TOKEN}, refusal=refusal))
    source = service.url if way == "environment" else f"{service.url}?token={TOKEN}"
    result = cli("run", source, *RUN, *(("--token-env", "MAP_TOKEN") if way == "environment" else ()))
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert all(TOKEN not in asked.target for asked in service.log)


@pytest.mark.parametrize("refusal", REFUSALS)
def test_without_a_token_a_secured_service_is_exit_3_and_nothing_is_left(serve, cli, tmp_path, refusal):
    service = serve(secured(refusal=refusal))
    result = cli("run", service.url, *RUN)
    assert result.code == 3
    assert len(result.err.strip().splitlines()) <= 2
    assert list(tmp_path.iterdir()) == []
    if refusal != "html":
        assert "--token-env" in result.err
        assert result.json["error"]["code"] == "auth"


def test_tiles_that_want_a_token_although_the_document_does_not_are_exit_3(serve, cli):
    service = serve(secured(open_document=True))
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert result.json["pending"] == TILES
    assert service.log.count("tile") < 40


@pytest.mark.parametrize("refusal", ["json", "status", "unauthorised"])
def test_one_tile_that_wants_a_token_is_exit_3(serve, cli, refusal):
    service = serve(secured(open_document=True, refusal=refusal))
    result = cli("tile", service.url, "1/0/0")
    assert (result.code, result.out) == (3, "")
    assert "verdict denied" in result.err and "--token-env" in result.err
    told = cli("tile", service.url, "1/0/0", "--json")
    assert (told.code, told.json["error"]["code"]) == (3, "auth")


def test_a_token_variable_that_is_not_set_is_exit_3_before_any_request(serve, cli, monkeypatch):
    monkeypatch.delenv("MAP_TOKEN")
    service = serve()
    result = cli("run", service.url, *RUN, "--token-env", "MAP_TOKEN")
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert "MAP_TOKEN" in result.err
    assert len(service.log) == 0


def test_a_wrong_token_is_exit_3(serve, cli, tmp_path):
    result = cli("run", serve(secured(tokens={"another"})).url, *RUN, "--token-env", "MAP_TOKEN")
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("refusal", REFUSALS)
def test_a_login_whose_token_ends_in_the_middle_is_renewed_exactly_once(serve, cli, tmp_path, refusal):
    """Row 18: tiles in flight are asked again and spend no tries."""
    service = serve(secured(uses=60, refusal=refusal), script())
    result = cli("run", service.url, *RUN, *LOGIN, *PATIENT)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.site.office.sold == 2
    assert service.log.count("token") == 2
    assert not any("token=" in asked.target for asked in service.log), "it was taken as it travelled"
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize("way", ["a login", "the portal's token"])
def test_a_server_of_a_portal_that_takes_its_own_tokens_only_is_harvested_with_exchanged_ones(
    serve, cli, tmp_path, way
):
    """The portal's token is refused, exchanged, and exchanged again when the server's ends in the middle."""
    service = serve(secured(federated=True, portal_tokens={TOKEN}, uses=60))
    options = LOGIN if way == "a login" else ("--token-env", "MAP_TOKEN")
    result = cli("run", service.url, *RUN, *options, *PATIENT)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.site.office.exchanged == [f"{service.origin}/arcgis"] * 2
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    assert all("canary" not in asked.target for asked in service.log if asked.kind in ("token", "info"))


@pytest.mark.parametrize("stay", [False, True])
@pytest.mark.parametrize("name", ["out.mbtiles", "out.gpkg", "out", "xyz", "out.tpkx"])
def test_pictures_that_came_for_an_ended_token_before_it_was_refused_are_fetched_again(
    serve, cli, tmp_path, name, stay
):
    """Row 18: for a while the service answers 200 with one and the same picture, and only then 498."""
    service = serve(secured(uses=60, stand_ins=6, stand_ins_stay=stay), Script(latency=0.005))
    form = ("--format", "xyz") if name == "xyz" else ()
    result = cli("run", service.url, "-o", name, *form, *SMALL, *HASTY, *LOGIN, *PATIENT)
    report = result.json
    assert (result.code, report["planned"], report["stored"], report["fetched"]) == (0, TILES, TILES, TILES)
    assert sums_hold(report)
    assert service.site.office.stood_in >= 6
    assert service.site.office.sold == 2
    assert report["tile_requests"] == service.log.count("tile") > TILES + 6
    assert len(held(tmp_path / name)) == TILES
    assert poisoned(tmp_path / name, service.site) == set()
    assert cli("verify", name, "--deep").code == 0


def test_pictures_that_came_for_an_ended_token_are_not_kept_when_no_new_one_is_to_be_had(serve, cli, tmp_path):
    refuse = Rule(do="json_error", status=400, text="Unable to generate token.", kind="token", requests="2-")
    service = serve(secured(uses=60, stand_ins=6, stand_ins_stay=True), script(refuse))
    result = cli("run", service.url, *RUN, *LOGIN)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert service.site.office.stood_in >= 6
    assert sums_hold(result.json)
    assert len(held(tmp_path / "out.mbtiles")) == result.json["stored"] == result.json["fetched"] > 0
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()
    service.script, service.site.office.uses = script(), None
    again = cli("run", service.url, *RUN, *LOGIN)
    assert (again.code, again.json["fetched"]) == (0, TILES - result.json["stored"])
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_a_credential_that_ended_before_the_run_is_found_out_by_a_tile_of_an_earlier_one(serve, cli, tmp_path):
    """Every answer of this run is alike, so nothing that came in it could tell."""
    service = serve()
    header = ("-o", "out.mbtiles", "--header", "X-Api-Key: canary-4711", *HASTY)
    assert cli("run", service.url, *SMALL, *header).code == 0
    before = held(tmp_path / "out.mbtiles")
    service.script = script(Rule(do="status", status=404))
    for _ in range(2):
        result = cli("run", service.url, "--lods", "0-4", *header)
        assert (result.code, result.json["error"]["code"]) == (3, "auth")
        assert (result.json["stored"], result.json["absent"], result.json["pending"]) == (TILES, 0, 256)
    assert held(tmp_path / "out.mbtiles") == before
    service.script = script()
    assert cli("run", service.url, "--lods", "0-4", *header).json["stored"] == TILES + 256
    service.script = script(Rule(do="status", status=404, levels="5"))
    absent = cli("run", service.url, "--lods", "0-5", *header)
    assert (absent.code, absent.json["absent"]) == (0, 1024), "the known tile is served: these are not there"


def test_a_token_is_renewed_before_it_ends_so_no_tile_is_refused(serve, cli):
    service = serve(secured(lifetime_seconds=5.0))
    result = cli("run", service.url, *RUN, *LOGIN, "--rate", "12")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.site.office.refused == 0
    assert service.site.office.sold >= 2


def test_a_token_that_is_refused_for_good_in_the_middle_is_exit_3_and_the_run_goes_on_with_a_better_one(serve, cli):
    service = serve(secured(tokens={TOKEN}), script(Rule(do="json_error", status=498, requests="30-")))
    command = ("run", service.url, *RUN, "--token-env", "MAP_TOKEN")
    result = cli(*command)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    stored = result.json["stored"]
    assert stored + result.json["pending"] == TILES
    assert stored <= 29  # the last of them are in doubt, and asked again
    assert service.log.count("tile") < 29 + 3 * 32
    service.script = script()
    again = cli(*command)
    assert (again.code, again.json["fetched"], again.json["kept"]) == (0, TILES - stored, stored)


def test_a_renewal_that_is_refused_is_exit_3_and_the_state_is_saved(serve, cli):
    refuse = Rule(do="json_error", status=400, text="Unable to generate token.", kind="token", requests="2-")
    service = serve(secured(uses=30), script(refuse))
    result = cli("run", service.url, *RUN, *LOGIN)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    stored = result.json["stored"]
    assert stored <= 30
    service.script = script()
    service.site.office.uses = None
    assert cli("run", service.url, *RUN, *LOGIN).json["fetched"] == TILES - stored


@pytest.mark.parametrize("do", ["reset_before", "status", "json_error"])
def test_a_token_service_that_is_away_when_a_token_is_exchanged_anew_ends_no_run(serve, cli, tmp_path, do):
    """All tries of one renewal fail, those of the next one do not."""
    away = Rule(do=do, kind="token", requests="2-5", **({} if do == "reset_before" else {"status": 503}))
    service = serve(secured(federated=True, portal_tokens={TOKEN}, uses=60), script(away))
    result = cli("run", service.url, *RUN, "--token-env", "MAP_TOKEN", *PATIENT)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.log.count("token") == 6
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


@pytest.mark.parametrize("do", ["status", "json_error"])
@pytest.mark.parametrize("code", [498, 499, 401])
@pytest.mark.parametrize("who", ["a login", "a token", "nobody"])
def test_one_tile_that_is_always_refused_is_failed_while_all_others_are_served(serve, cli, tmp_path, who, code, do):
    """The service still serves what it served, so it is the tile: the run goes on, and ends with exit 3; the same
    command fails it again, and nothing else."""
    site = {"a login": secured(), "a token": secured(tokens={TOKEN}), "nobody": ArcGisSite()}[who]
    service = serve(site, script(Rule(do=do, status=code, tiles=("3/2/2",))))
    options = {"a login": LOGIN, "a token": ("--token-env", "MAP_TOKEN"), "nobody": ()}[who]
    for _ in range(2):
        before = service.log.count("tile")
        result = cli("run", service.url, *RUN, *options)
        report = result.json
        assert (result.code, report["stored"], report["failed"], report["pending"]) == (3, TILES - 1, 1, 0)
        assert failures(report) == {"3/2/2": f"http_{code}"}
        assert report["error"]["code"] == "auth" and "3/2/2 again" in report["error"]["message"]
        assert "on a second try" in report["error"]["message"], "nothing was renewed"
        assert report["tile_requests"] == service.log.count("tile") - before <= TILES + 9 + 45
        assert report["tile_requests"] == report["fetched"] + 1 + report["retries"] + report["questions"]
    assert service.site.office is None or service.site.office.sold == (2 if who == "a login" else 0), "one a run"
    assert poisoned(tmp_path / "out.mbtiles", service.site) == set()


def test_tiles_that_are_refused_again_after_a_renewal_while_nothing_is_served_are_exit_3(serve, cli):
    service = serve(secured(), script(Rule(do="status", status=498, requests="20-")))
    result = cli("run", service.url, *RUN, *LOGIN)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert "again (http_498) with a new token" in result.err
    assert service.site.office.sold == 2


def test_a_wrong_password_is_exit_3_in_two_lines(serve, cli, monkeypatch, tmp_path):
    monkeypatch.setenv("MAP_PASSWORD", "canary-wrong")
    result = cli("run", serve(secured()).url, *RUN, *LOGIN)
    assert (result.code, result.json["error"]["code"]) == (3, "auth")
    assert "refuses the login" in result.err
    assert "canary" not in result.err + result.out
    assert len(result.err.strip().splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_password_goes_in_no_address_and_to_the_token_service_alone(serve, cli):
    service = serve(secured())
    assert cli("run", service.url, *RUN, *LOGIN).code == 0
    for asked in service.log:
        assert PASSWORD not in asked.target
        assert (PASSWORD.encode() in asked.body) == (asked.kind == "token")


# ------------------------------------------------------------------------------------------------ other hosts


@pytest.mark.parametrize("where", ["tile", "tilemap", "document", "token"])
def test_no_redirect_carries_a_secret_to_another_host(serve, cli, where):
    """Row 23: the other server's log stays empty."""
    other = serve(ArcGisSite())
    site = secured()
    site.tilemap = "on"
    service = serve(site, script(Rule(do="redirect", to=other.url + "/tile/0/0/0", kind=where)))
    headers = ("--header", "X-Api-Key: canary-header", "--header", "Cookie: a=canary")
    result = cli("run", service.url, *RUN, *LOGIN, *headers)
    assert result.code == (0 if where == "tilemap" else 3)
    assert len(other.log) == 0


def test_a_document_may_move_to_an_allowed_host_but_no_credentials_go_along(serve, cli):
    other = serve(ArcGisSite())
    service = serve(secured(tokens={TOKEN}), script(Rule(do="redirect", to=other.url + "?f=json", kind="document")))
    result = cli(
        *("run", service.url, *RUN, "--token-env", "MAP_TOKEN", "--header", "X-Api-Key: canary-header"),
        *("--allow-host", f"127.0.0.1:{other.port}"),
    )
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert other.log.count("tile") == TILES
    assert not any(b"canary" in asked.raw for asked in other.log)


@pytest.mark.parametrize("way", ["--token-env", "in the address", "a login"])
@pytest.mark.parametrize("refuses", [False, True])
def test_nor_does_a_redirect_that_repeats_the_whole_query_take_them_along(serve, cli, way, refuses):
    """nginx's ``return 307 http://new$request_uri``."""
    other = serve(secured(tokens={"another"}) if refuses else ArcGisSite())
    site = secured(tokens={TOKEN})
    token = site.office.token(1) if way == "a login" else TOKEN
    moved = Rule(do="redirect", to=f"{other.url}?f=json&x-sig=theirs&token={token}", kind="document")
    service = serve(site, script(moved))
    url = f"{service.url}?token={TOKEN}" if way == "in the address" else service.url
    options = {"--token-env": ("--token-env", "MAP_TOKEN"), "a login": LOGIN}.get(way, ())
    result = cli("run", url, *RUN, *options, "--allow-host", f"127.0.0.1:{other.port}")
    assert result.code == (3 if refuses else 0), result.err
    assert not any(b"canary" in asked.raw for asked in other.log)
    assert len(other.log) > 0
    assert "x-sig=theirs" in other.log[0].target


@pytest.mark.parametrize("spelled", [TOKEN, "".join(f"%{ord(one):02x}" for one in TOKEN), f"%2563{TOKEN[1:]}"])
def test_a_redirect_with_a_secret_in_its_path_is_not_followed(serve, cli, tmp_path, spelled):
    other = serve(ArcGisSite())
    rule = Rule(do="redirect", to=f"{other.origin}/{spelled}/arcgis/rest/services/Streets/MapServer", kind="document")
    service = serve(secured(tokens={TOKEN}), script(rule))
    result = cli("run", service.url, *RUN, "--token-env", "MAP_TOKEN", "--allow-host", f"127.0.0.1:{other.port}")
    assert (result.code, len(other.log)) == (3, 0)
    assert "another host" in result.err and "canary" not in result.err + result.out
    assert list(tmp_path.iterdir()) == []


STRANGE_HOSTS = (
    "http://169.254.169.254/latest/meta-data",
    "http://[::ffff:127.0.0.1]:9/x",
    "file:///etc/passwd",
    "ftp://example.org/tiles",
    "gopher://example.org",
    "//",
    "",
)


def test_tile_servers_on_other_hosts_are_not_asked_unless_allowed(serve, cli):
    """Row 43: addresses inside documents are of the same origin, or named by the person."""
    other = serve(ArcGisSite())
    service = serve()
    service.site.tile_servers = (*STRANGE_HOSTS, other.url)
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.log.count("tile") == TILES
    assert len(other.log) == 0
    assert any(f"--allow-host 127.0.0.1:{other.port}" in text for text in result.json["notices"])


def test_tile_servers_that_are_allowed_share_the_tiles(serve, cli):
    other, service = serve(ArcGisSite()), serve()
    service.site.tile_servers = (service.url, other.url)
    result = cli("run", service.url, *RUN, "--allow-host", "127.0.0.1")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert service.log.count("tile") + other.log.count("tile") == TILES
    assert min(service.log.count("tile"), other.log.count("tile")) > TILES / 4


def test_tile_servers_get_the_credentials_of_their_service_only_where_they_are_allowed(serve, cli):
    other, service = serve(secured(tokens={TOKEN})), serve(secured(tokens={TOKEN}))
    service.site.tile_servers = (service.url, other.url)
    command = ("run", service.url, *RUN, "--token-env", "MAP_TOKEN", "--header", "X-Api-Key: canary-header")
    assert cli(*command).code == 0 and len(other.log) == 0
    result = cli(*command, "--mode", "overwrite", "--allow-host", f"127.0.0.1:{other.port}")
    assert (result.code, result.json["stored"]) == (0, TILES)
    assert other.log.count("tile") > TILES / 4 and all(asked.raw.count(b"canary") == 2 for asked in other.log)


def test_a_token_service_on_another_host_never_sees_the_password(serve, cli, tmp_path):
    other = serve(secured())
    info = '{"currentVersion":11.1,"authInfo":{"isTokenBasedSecurity":true,"tokenServicesUrl":"' + other.origin
    service = serve(secured(), script(Rule(do="html", text=info + '/arcgis/tokens/"}}', kind="info")))
    result = cli("run", service.url, *RUN, *LOGIN)
    assert result.code == 3
    assert "another host" in result.err and "--allow-host" in result.err
    assert len(other.log) == 0
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------------------------ headers


def test_headers_go_with_documents_tiles_and_tilemaps(serve, cli, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password canary-netrc\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    service = serve(ArcGisSite(tilemap="on"))
    headers = (
        "--header",
        "X-Api-Key: k1",
        "--header",
        "Referer: https://gis.example.org",
        "--contact",
        "me@example.org",
    )
    assert cli("run", service.url, *RUN, *headers).code == 0
    for asked in service.log:
        assert asked.headers["x-api-key"] == "k1"
        assert asked.headers["referer"] == "https://gis.example.org"
        assert asked.headers["user-agent"].startswith("harvester/")
        assert "me@example.org" in asked.headers["user-agent"]
        assert "authorization" not in asked.headers  # ~/.netrc is nobody's word


# ------------------------------------------------------------------------------------------------ certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_a_certificate_that_nobody_vouches_for_is_exit_3_and_names_host_and_remedy(serve, cli, authority, tmp_path):
    """Row 21: never an insecure fallback."""
    service = serve(ssl_context=tls(authority.issue_cert("localhost")))
    result = cli("run", service.url, *RUN)
    assert (result.code, result.json["error"]["code"]) == (3, "source")
    assert f"localhost:{service.port}" in result.err and "--ca-bundle" in result.err
    assert len(service.log) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["option", "environment"])
def test_a_bundle_makes_the_certificate_good(serve, cli, authority, bundle, monkeypatch, way):
    service = serve(secured(), ssl_context=tls(authority.issue_cert("localhost")))
    if way == "environment":
        monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    result = cli("run", service.url, *RUN, *LOGIN, *(("--ca-bundle", bundle) if way == "option" else ()))
    assert (result.code, result.json["stored"]) == (0, TILES)


def test_an_expired_certificate_and_one_of_another_host_stay_bad_with_the_bundle(serve, cli, authority, bundle):
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    expired = authority.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    for certificate, word in ((expired, "expired"), (authority.issue_cert("elsewhere.example.org"), "localhost")):
        service = serve(ssl_context=tls(certificate))
        result = cli("run", service.url, *RUN, "--ca-bundle", bundle)
        assert result.code == 3
        assert word in result.err
        assert len(service.log) == 0


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_bundle_that_is_none_is_exit_2(serve, cli, tmp_path, content):
    if content is not None:
        (tmp_path / "ca.pem").write_bytes(content)
    service = serve()
    result = cli("run", service.url, *RUN, "--ca-bundle", "ca.pem")
    assert (result.code, result.json["error"]["code"]) == (2, "usage")
    assert "ca.pem" in result.err
    assert len(service.log) == 0


# ------------------------------------------------------------------------------------------------ proxies

NAME = "gis.example.test"


def test_documents_and_tiles_go_through_the_proxy(serve, cli):
    service = serve(ArcGisSite(tilemap="on"))
    with ProxyServer(routes={f"{NAME}:80": ("127.0.0.1", service.port), NAME: ("127.0.0.1", service.port)}) as proxy:
        url = f"http://{NAME}{service.site.path}"
        result = cli("run", url, *RUN, "--proxy", proxy.url)
        assert (result.code, result.json["stored"]) == (0, TILES)
        targets = {passage.target.partition("?")[0] for passage in proxy.passages}
    assert url in targets and f"{url}/tile/3/2/2" in targets and f"{url}/tilemap/3/0/0/128/128" in targets
    assert {asked.headers["host"] for asked in service.log} == {NAME}


def test_https_goes_through_a_tunnel_that_sees_no_path_and_no_header(serve, cli, authority, bundle):
    service = serve(secured(tokens={TOKEN}), ssl_context=tls(authority.issue_cert(NAME)))
    with ProxyServer(routes={f"{NAME}:443": ("127.0.0.1", service.port)}) as proxy:
        url = f"https://{NAME}{service.site.path}"
        result = cli("run", url, *RUN, "--proxy", proxy.url, "--ca-bundle", bundle, "--token-env", "MAP_TOKEN")
        assert (result.code, result.json["stored"]) == (0, TILES)
        assert {(passage.method, passage.target) for passage in proxy.passages} == {("CONNECT", f"{NAME}:443")}
        assert "canary" not in str(proxy.passages)


@pytest.mark.parametrize("good", [True, False])
def test_a_proxy_with_a_login_gets_it_and_one_without_says_so(serve, cli, tmp_path, good):
    service = serve()
    with ProxyServer(credentials="me:canary-proxy") as proxy:
        typed = proxy.url.replace("//", "//me:canary-proxy@") if good else proxy.url
        result = cli("run", service.url, *RUN, "--proxy", typed)
        assert "canary" not in result.out + result.err
        assert result.code == (0 if good else 3)
        if not good:
            assert "407" in result.err and "--proxy USER:PASSWORD@HOST:PORT" in result.err
            assert len(service.log) == 0
            assert list(tmp_path.iterdir()) == []
    assert not any(b"canary" in asked.raw for asked in service.log)


@pytest.mark.parametrize(("exempt", "passes"), [("", True), ("127.0.0.1", False), ("127.0.0.0/8", False), ("*", False)])
def test_the_environments_proxy_is_used_unless_no_proxy_names_the_host(serve, cli, monkeypatch, exempt, passes):
    service = serve()
    with ProxyServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("no_proxy", exempt)
        result = cli("run", service.url, "--lods", "0-1", "-o", "out.mbtiles", *HASTY)
        assert (result.code, result.json["stored"]) == (0, 5)
        assert bool(proxy.passages) is passes


def test_a_proxy_that_is_not_there_is_exit_3(cli, serve, tmp_path):
    with FaultyService() as gone:
        dead = gone.origin
    service = serve()
    result = cli("run", service.url, *RUN, "--proxy", dead)
    assert result.code == 3
    assert "proxy" in result.err
    assert len(service.log) == 0
    assert list(tmp_path.iterdir()) == []
