"""A redirect that is not followed says where it leads, without a secret, and what to do about it."""

from __future__ import annotations

import pytest

from harvester.redact import site_of
from harvester.testing.script import Rule, Script
from harvester.testing.service import ArcGisSite
from harvester.testing.tickets import TicketOffice
from tests.e2e.claims import HASTY

ELSEWHERE = "https://login.example.org:8443/sign/in?token=canary-4711"


@pytest.mark.parametrize(
    ("url", "site"),
    [
        (ELSEWHERE, "https://login.example.org:8443"),
        ("http://me:canary@host.example.org/x", "http://host.example.org"),
        ("http://[::1]:80/", "http://[::1]:80"),
        ("file:///etc/passwd", "file://"),
        ("/login?x=1", ""),
        ("", ""),
        ("http://[broken", ""),
        ("http://host:port/", ""),
    ],
)
def test_a_site_is_scheme_host_and_port_and_nothing_more(url, site):
    assert site_of(url) == site


def redirected(serve, kind: str, to: str = ELSEWHERE, **site):
    return serve(ArcGisSite(**site), Script(rules=(Rule(do="redirect", to=to, kind=kind),)))


def test_tiles_that_are_redirected_tell_where_to(serve, cli):
    result = cli("run", redirected(serve, "tile").url, "--lods", "0-4", "-o", "out.mbtiles", *HASTY)
    assert (result.code, result.json["error"]["code"]) == (3, "unusable")
    assert "redirected to https://login.example.org:8443 " in result.err
    assert "--allow-host" in result.err and "canary" not in result.err + result.out


def test_a_document_that_is_redirected_tells_where_to_and_how_to_allow_it(serve, cli):
    for verb in (("scales",), ("plan",), ("run", "-o", "out.mbtiles")):
        result = cli(verb[0], redirected(serve, "document").url, *verb[1:], "--json")
        assert result.code == 3
        assert "redirects to another host, https://login.example.org:8443" in result.err
        assert "--allow-host login.example.org:8443" in result.err and "canary" not in result.err + result.out


def test_a_document_that_is_redirected_for_ever_tells_where_it_ended(serve, cli):
    service = redirected(serve, "document", to="loop")
    result = cli("scales", service.url, "--json")
    assert result.code == 3
    assert f"at last to {service.origin}" in result.err


def test_a_login_that_is_redirected_tells_where_to(serve, cli, monkeypatch):
    office = TicketOffice()
    monkeypatch.setenv("SOME_WORD", office.password)
    service = redirected(serve, "token", office=office)
    result = cli("scales", service.url, "--username", office.username, "--password-env", "SOME_WORD", "--json")
    assert result.code == 3
    assert "https://login.example.org:8443" in result.err
    assert "canary" not in result.err + result.out


def test_one_tile_that_is_redirected_shows_its_location_without_the_secret(serve, cli):
    result = cli("tile", redirected(serve, "tile").url, "0/0/0")
    assert result.code == 1
    assert "location: https://login.example.org:8443/sign/in?token=***" in result.err
