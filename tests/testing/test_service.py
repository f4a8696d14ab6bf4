"""The ArcGIS service: its document, tiles, tilemap and tokens, as the REST API reference describes them."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pytest

from harvester.sources.arcgis_document import parse_service
from harvester.sources.service_url import parse_service_url
from harvester.testing import ArcGisSite, FaultyService, TicketOffice, schemes
from harvester.testing.images import address_of
from harvester.testing.service import TILEMAPS
from harvester.tiling.tile import Tile


def get(url: str, *, form: dict[str, str] | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url, body, {name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read()


def get_json(url: str, **arguments: Any) -> Any:
    return json.loads(get(url, **arguments)[2])


def test_the_document_states_scheme_extent_and_flags() -> None:
    site = ArcGisSite(grid=schemes.RIO, tilemap="on", min_lod=2, max_lod=5, tile_servers=("http://a.test/x",))
    with FaultyService(site) as service:
        document = get_json(service.url + "?f=json")
    info = document["tileInfo"]
    assert document["singleFusedMapCache"] is True
    assert (info["rows"], info["cols"], info["format"]) == (256, 256, "PNG")
    assert info["origin"] == {"x": 620000.0, "y": 7500000.0}
    assert info["spatialReference"] == {"wkid": 29193}
    assert [lod["level"] for lod in info["lods"]] == list(range(11))
    assert info["lods"][8]["resolution"] == 0.529167725002117
    assert document["fullExtent"]["xmin"] == 625241.895556869
    assert (document["minLOD"], document["maxLOD"]) == (2, 5)
    assert "Tilemap" in document["capabilities"]
    assert document["tileServers"] == ["http://a.test/x"]


def test_fields_of_the_document_can_be_replaced_removed_or_garbled() -> None:
    site = ArcGisSite(document={"singleFusedMapCache": False, "tileInfo": None, "extra": 1})
    with FaultyService(site) as service:
        document = get_json(service.url + "/?f=json")
        assert document["singleFusedMapCache"] is False
        assert "tileInfo" not in document
        assert document["extra"] == 1
        site.raw_document = b"{NaN"
        assert get(service.url + "?f=json")[2] == b"{NaN"


def test_an_image_service_is_one() -> None:
    with FaultyService(ArcGisSite(kind="image", name="City/Photo")) as service:
        assert service.url.endswith("/arcgis/rest/services/City/Photo/ImageServer")
        assert get_json(service.url + "?f=json")["cacheType"] == "Map"
        assert get(f"{service.url}/tile/3/1/1")[0] == 200


@pytest.mark.parametrize("grid", schemes.GRIDS.values(), ids=schemes.GRIDS)
def test_every_grid_is_read_back_as_it_is(grid: schemes.Grid) -> None:
    with FaultyService(ArcGisSite(grid=grid)) as service:
        document = parse_service(get_json(service.url + "?f=json"), parse_service_url(service.url))
    assert document.info.scheme == grid.scheme
    assert document.info.extent == grid.extent


def test_philadelphia_has_the_tiles_that_its_extent_says() -> None:
    scheme, extent = schemes.UTM_PHILADELPHIA.scheme, schemes.UTM_PHILADELPHIA.extent
    counts = []
    for lod in scheme.lods:
        first = scheme.tile_at(lod.level, extent.xmin, extent.ymax)
        last = scheme.tile_at(lod.level, extent.xmax, extent.ymin)
        counts.append((last.row - first.row + 1) * (last.col - first.col + 1))
    assert counts == [6, 16, 56, 210, 783]


def test_only_the_google_grids_are_google_grids() -> None:
    google = [grid.name for grid in schemes.GRIDS.values() if grid.scheme.google(4 if len(grid.scheme.lods) > 4 else 0)]
    assert google == ["web-mercator", "web-mercator-512"]


def test_absent_tiles_and_levels_are_404() -> None:
    with FaultyService(ArcGisSite(absent=lambda tile: tile.col == 1)) as service:
        assert get(f"{service.url}/tile/3/1/1")[0] == 404
        assert get(f"{service.url}/tile/3/1/2")[0] == 200
        assert get(f"{service.url}/tile/30/1/2")[0] == 404
        assert get(f"{service.url}/tile/3/x/2")[0] == 404


def test_absent_tiles_may_be_blank_ones_unless_the_client_says_no() -> None:
    with FaultyService(ArcGisSite(absent=lambda tile: True, blank=True)) as service:
        status, headers, body = get(f"{service.url}/tile/3/1/1")
        assert (status, headers["blank-tile"], address_of(body)) == (200, "true", (Tile(3, 1, 1), 255))
        assert get(f"{service.url}/tile/3/1/1?blankTile=false")[0] == 404


def test_a_known_etag_is_answered_with_304_until_the_tile_changes() -> None:
    site = ArcGisSite()
    with FaultyService(site) as service:
        url = f"{service.url}/tile/3/1/1"
        status, headers, before = get(url)
        assert status == 200
        assert get(url, If_None_Match=headers["ETag"])[0] == 304
        site.variant = 1
        status, changed, after = get(url, If_None_Match=headers["ETag"])
        assert (status, changed["ETag"] != headers["ETag"], after != before) == (200, True, True)
        site.etags = False
        assert "ETag" not in get(url, If_None_Match=changed["ETag"])[1]


def test_mixed_services_send_both_formats_and_any_tile_can_be_given() -> None:
    site = ArcGisSite(format="MIXED")
    with FaultyService(site) as service:
        kinds = [get(f"{service.url}/tile/3/1/{col}")[1]["Content-Type"] for col in range(2)]
        assert kinds == ["image/jpeg", "image/png"]
        site.tile = lambda tile: f"tile {tile}".encode()
        assert get(f"{service.url}/tile/3/1/2")[2] == b"tile 3/1/2"


def window(mode: str, *, says: Any = None) -> tuple[int, Any]:
    site = ArcGisSite(tilemap=mode, absent=lambda tile: tile.col % 2 == 0, tilemap_says=says)
    with FaultyService(site) as service:
        status, _, body = get(f"{service.url}/tilemap/9/130/70/8/4?f=json")
        return status, json.loads(body) if body[:1] == b"{" else body


def test_the_tilemap_tells_the_truth_row_by_row() -> None:
    status, answer = window("on")
    assert status == 200
    assert answer["location"] == {"left": 70, "top": 130, "width": 8, "height": 4}
    assert answer["data"] == [0, 1] * 16
    assert answer["adjusted"] is False


def test_a_tilemap_can_go_wrong_in_every_way() -> None:
    answers = {mode: window(mode) for mode in TILEMAPS}
    assert answers["off"][1]["error"]["code"] == 400
    assert len(answers["short"][1]["data"]) == 31
    assert answers["single"][1]["data"] == [0]
    assert answers["invalid"][1]["valid"] is False
    assert answers["adjusted"][1]["adjusted"] is True
    assert answers["adjusted"][1]["location"]["width"] == 4
    assert len(answers["adjusted"][1]["data"]) == 16
    assert answers["moved"][1]["location"] == {"left": 64, "top": 128, "width": 8, "height": 4}
    assert answers["422"][0] == 422
    assert answers["422"][1]["error"]["code"] == 422
    assert answers["error"][1]["error"]["code"] == 500
    assert answers["html"][1].startswith(b"<html>")
    assert set(answers) == {"on", "off", "short", "single", "invalid", "adjusted", "moved", "422", "error", "html"}


def test_a_tilemap_can_lie_and_an_empty_window_is_422() -> None:
    assert window("on", says=lambda tile: True)[1]["data"] == [1] * 32
    assert window("on", says=lambda tile: False)[0] == 422


def token(service: FaultyService, office: TicketOffice, **form: str) -> Any:
    form = {"username": office.username, "password": office.password, "f": "json"} | form
    return get_json(f"{service.origin}/arcgis/tokens/generateToken", form=form)


def test_tokens_are_sold_for_a_password_and_taken_in_three_places() -> None:
    office = TicketOffice()
    with FaultyService(ArcGisSite(office=office)) as service:
        info = get_json(service.origin + "/arcgis/rest/info?f=json")
        assert info["authInfo"]["tokenServicesUrl"] == f"{service.origin}/arcgis/tokens/"
        assert get_json(service.url + "?f=json")["error"]["code"] == 499
        assert token(service, office, password="wrong")["error"]["message"] == "Unable to generate token."
        assert get_json(f"{service.origin}/arcgis/tokens/generateToken")["error"]["code"] == 405
        sold = token(service, office)["token"]
        url = f"{service.url}/tile/3/1/1"
        assert get(f"{url}?token={sold}")[2][:4] == b"\x89PNG"
        assert get(url, X_Esri_Authorization=f"Bearer {sold}")[2][:4] == b"\x89PNG"
        assert get(url, Authorization=f"Bearer {sold}")[2][:4] == b"\x89PNG"
        assert get_json(f"{url}?token=forged")["error"]["code"] == 498
        assert (office.sold, office.refused) == (1, 2)


@pytest.mark.parametrize(
    ("refusal", "status", "text"),
    [
        ("json", 200, b'"code": 498'),
        ("status", 498, b'"code": 498'),
        ("html", 200, b"Invalid Token"),
        ("unauthorised", 401, b""),
    ],
)
def test_a_token_ends_and_is_refused_in_any_way(refusal: str, status: int, text: bytes) -> None:
    office = TicketOffice(refusal=refusal, uses=2, open_document=True)
    with FaultyService(ArcGisSite(office=office)) as service:
        sold = token(service, office)["token"]
        url = f"{service.url}/tile/3/1/1?token={sold}"
        assert [get(url)[2][:4] for _ in range(2)] == [b"\x89PNG"] * 2
        got, _, body = get(url)
        assert (got, text in body) == (status, True)
        assert office.tokens == set()
        assert get_json(service.url + "?f=json")["singleFusedMapCache"] is True


def test_tokens_end_by_the_clock_or_all_at_once() -> None:
    now = [1000.0]
    office = TicketOffice(lifetime_seconds=60, wall=lambda: now[0], refusal="status")
    with FaultyService(ArcGisSite(office=office)) as service:
        first = token(service, office)
        assert first["expires"] == 1_060_000
        url = f"{service.url}/tile/3/1/1?token="
        assert get(url + first["token"])[0] == 200
        now[0] = 1060.0
        assert get(url + first["token"])[0] == 498
        second = token(service, office)["token"]
        assert second != first["token"]
        office.expire()
        assert get(url + second)[0] == 498


def test_a_field_that_is_no_choice_is_refused() -> None:
    for fields in ({"tilemap": "maybe"}, {"kind": "feature"}):
        with pytest.raises(ValueError, match="is one of"):
            ArcGisSite(**fields)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is one of"):
        TicketOffice(refusal="politely")
