"""A vector tile service: what is asked for a tile, what an answer means, and what its style needs beside the tiles."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from harvester.caches.open import require_can_hold
from harvester.edges import Answer, Outcome, TileFormat
from harvester.errors import SourceError
from harvester.payload.pbf import in_gzip
from harvester.sources.auth import Credentials
from harvester.sources.open import open_services
from harvester.sources.service_url import parse_service_url
from harvester.sources.vector import VectorSource
from harvester.sources.vector_resources import Gathering
from harvester.sources.vector_style import fonts_of, glyphs_of, packaged, services_of, sprite_of
from harvester.testing import schemes
from harvester.testing.lab import FaultServer
from harvester.testing.service import ArcGisSite, FaultyService
from harvester.testing.vector import tile_mvt
from harvester.testing.vector_service import FONT, STYLE, listed, resources
from harvester.tiling.tile import BlockKey, Tile
from harvester.transport.documents import Document
from harvester.transport.origins import origin_of
from harvester.transport.refusals import DocumentError
from harvester.transport.session import Access, Session
from tests.sources.documents import TILED, URL, parse
from tests.sources.test_webmap import ID, Portal

VECTOR_URL = URL.replace("MapServer", "VectorTileServer")
TILE = Tile(9, 170, 300)
BODY = tile_mvt(*TILE)


def make(*, token: str | None = None, allow_hosts: tuple[str, ...] = (), **fields: Any) -> VectorSource:
    document = {
        **TILED,
        "tileInfo": {**TILED["tileInfo"], "format": "pbf"},
        "tiles": ["tile/{z}/{y}/{x}.pbf"],
        **fields,
    }
    url = parse_service_url(VECTOR_URL)
    credentials = Credentials(token=token)
    return VectorSource(parse(document, VECTOR_URL), document, url, credentials, allow_hosts=allow_hosts)


def judged(body: bytes, status: int = 200, **more: Any) -> Any:
    source = make()
    return source.judge(source.request(TILE, 0), Answer(status, {}, body, 0.01, **more))


# ---- asking


def test_a_tile_is_asked_row_before_column_with_its_ending_and_in_gzip() -> None:
    source = make(token="canary")
    request = source.request(TILE, 2)
    assert request.path == "/arcgis/rest/services/Streets/VectorTileServer/tile/9/170/300.pbf"
    assert (request.tile, request.attempt) == (TILE, 2)
    assert ("Accept-Encoding", "gzip") in request.host.headers
    assert ("X-Esri-Authorization", "Bearer canary") in request.host.headers
    assert source.info.kind == "arcgis-vector" and source.info.tile_format is TileFormat.PBF


def test_no_blank_picture_is_asked_away_where_there_are_no_pictures() -> None:
    assert "?" not in make(currentVersion=11.1, capabilities="TilesOnly").request(TILE, 0).path


@pytest.mark.parametrize(
    "stated, path",
    [
        ("tile/{z}/{y}/{x}.pbf?v=3", "/arcgis/rest/services/Streets/VectorTileServer/tile/9/170/300.pbf?v=3"),
        ("../Other/tile/{z}/{x}/{y}.mvt", "/arcgis/rest/services/Streets/Other/tile/9/300/170.mvt"),
        ("https://gis.example.org/cdn/{z}/{y}/{x}", "/cdn/9/170/300"),
    ],
)
def test_the_services_own_template_counts(stated: str, path: str) -> None:
    source = make(tiles=[stated])
    assert source.request(TILE, 0).path == path
    assert not any("is not used" in notice for notice in source.info.notices)


@pytest.mark.parametrize(
    "stated", ["https://evil.example.net/{z}/{y}/{x}.pbf", "tile/{z}/{y}.pbf", "tile/{z}/{y}/{x}/{k}.pbf", "file:///x"]
)
def test_a_template_that_leads_elsewhere_or_nowhere_is_told_and_not_used(stated: str) -> None:
    source = make(tiles=[stated])
    request = source.request(TILE, 0)
    assert request.host.origin == "https://gis.example.org"
    assert request.path.endswith("/VectorTileServer/tile/9/170/300.pbf")
    assert any("is not used" in notice for notice in source.info.notices)


@pytest.mark.parametrize("stated", [None, [], "tile", [7], {}])
def test_a_service_that_states_no_template_is_asked_as_all_are(stated: Any) -> None:
    assert make(tiles=stated).request(TILE, 0).path.endswith("/VectorTileServer/tile/9/170/300.pbf")


def test_a_window_of_the_tilemap_is_asked_where_the_service_has_one() -> None:
    assert make(capabilities="TilesOnly").window(BlockKey(9, 128, 256)) is None
    window = make(capabilities="TilesOnly,Tilemap").window(BlockKey(9, 128, 256))
    assert window is not None and window.path.endswith("/VectorTileServer/tilemap/9/128/256/128/128?f=json")


# ---- judging


def test_a_tile_in_gzip_is_kept_as_it_came() -> None:
    verdict = judged(BODY)
    assert (verdict.outcome, verdict.kind, verdict.body) == (Outcome.WHOLE, "pbf", BODY)


def test_a_plain_tile_is_put_in_gzip_the_same_each_time() -> None:
    plain = gzip.decompress(BODY)
    verdict = judged(plain)
    assert verdict.outcome is Outcome.WHOLE
    assert verdict.body == in_gzip(plain) == judged(plain).body and gzip.decompress(verdict.body) == plain


def test_a_body_cut_anywhere_is_no_tile() -> None:
    for cut in range(1, len(BODY)):
        assert judged(BODY[:cut]).outcome is Outcome.RETRY, cut
    plain = gzip.decompress(BODY)
    # Between two layers plain protobuf is whole again; there only the stated length tells, and the transport holds it.
    ends = {len(plain) - sum(sizes) for sizes in _tails(plain)}
    for cut in range(1, len(plain)):
        whole = judged(plain[:cut]).outcome is Outcome.WHOLE
        assert whole is (cut in ends), cut
        assert judged(plain[:cut], delimited=False).outcome is Outcome.RETRY, cut


def _tails(plain: bytes) -> list[list[int]]:
    """The sizes of the last 1, 2 ... layers of a tile whose layers are shorter than 128 bytes."""
    sizes, at = [], 0
    while at < len(plain):
        size = 2 + plain[at + 1] if plain[at + 1] < 128 else 3 + (plain[at + 1] & 127 | plain[at + 2] << 7)
        sizes.append(size)
        at += size
    return [sizes[-count:] for count in range(1, len(sizes))]


@pytest.mark.parametrize("status", [404, 204])
def test_a_tile_that_is_not_there_is_absent(status: int) -> None:
    assert judged(b"", status).outcome is Outcome.ABSENT


def test_an_empty_answer_is_absent_and_a_picture_is_none() -> None:
    assert judged(b"").outcome is Outcome.ABSENT
    assert judged(b"<html>login</html>").outcome is Outcome.RETRY


# ---- styles


def test_the_service_of_a_style_is_found_from_where_the_style_is() -> None:
    at = "https://h.example.org/arcgis/rest/services/A/VectorTileServer/resources/styles/root.json?f=json"
    assert services_of(STYLE, at) == ["https://h.example.org/arcgis/rest/services/A/VectorTileServer"]
    several = {"sources": {"b": {"type": "vector", "url": "https://b"}, "esri": {"type": "vector", "url": "https://a"}}}
    assert services_of(several, at) == ["https://a", "https://b"]
    tiles = {"sources": {"x": {"type": "vector", "tiles": ["../../tile/{z}/{y}/{x}.pbf"]}}}
    assert services_of(tiles, at) == ["https://h.example.org/arcgis/rest/services/A/VectorTileServer"]


@pytest.mark.parametrize(
    "stated, fonts",
    [
        (["Noto Sans"], ["Noto Sans"]),
        ({"stops": [[3, ["A"]], [9, ["B"]]]}, ["A", "B"]),
        (["literal", ["A", "B"]], ["A", "B"]),
        (["step", ["zoom"], ["literal", ["A"]], 9, ["literal", ["B"]]], ["A", "B"]),
        (["match", ["get", "class"], "city", ["literal", ["A"]], ["literal", ["B"]]], ["A", "B"]),
        (["case", ["has", "x"], ["literal", ["A"]], ["literal", ["B"]]], ["A", "B"]),
        (["coalesce", ["get", "font"], ["literal", ["A"]]], ["A"]),
        (["get", "font"], []),
        (None, ["Arial Unicode MS Regular", "Open Sans Regular"]),
    ],
)
def test_the_fonts_of_a_style_are_those_that_its_texts_are_drawn_in(stated: Any, fonts: list[str]) -> None:
    layout = {"text-field": "{name}", **({"text-font": stated} if stated is not None else {})}
    assert fonts_of({"layers": [{"layout": layout}, {"layout": {"icon-image": "dot"}}]}) == fonts


KEYS = ("layers", "layout", "text-font", "text-field", "stops", "sources", "url", "sprite", "glyphs")


def nested(leaf: st.SearchStrategy[Any], keys: st.SearchStrategy[str], depth: int) -> st.SearchStrategy[Any]:
    """JSON values, so deep."""
    if not depth:
        return leaf
    inner = nested(leaf, keys, depth - 1)
    return inner | st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3)


@example({"text-font": [[]]})
@given(nested(st.none() | st.booleans() | st.text(max_size=4), st.sampled_from(KEYS), 3))
def test_a_style_of_any_shape_is_read_without_harm(value: Any) -> None:
    at = "https://h.example.org/root.json"
    for style in (value, {"layers": [{"layout": value}], "sources": {"esri": value}}):
        assert isinstance(fonts_of(style), list) and isinstance(services_of(style, at), list)
        sprite_of(style, at), glyphs_of(style, at)


def test_inside_a_package_addresses_are_relative_to_the_style() -> None:
    service = "https://h.example.org/A/VectorTileServer"
    style = {
        **STYLE,
        "sprite": "https://cdn.example.org/sprite?token=canary",
        "glyphs": "https://cdn.example.org/{fontstack}/{range}.pbf?token=canary",
        "sources": {
            "esri": {"type": "vector", "url": f"{service}?token=canary"},
            "hills": {"type": "raster", "url": "https://other.example.org/x?token=canary"},
            "photos": {"type": "raster", "tiles": ["https://p.example.org/{z}/{y}/{x}?token=canary"]},
            "again": {"type": "vector", "tiles": [f"{service}/tile/{{z}}/{{y}}/{{x}}.pbf?token=canary"]},
        },
    }
    found, elsewhere = packaged(style, f"{service}/resources/styles/root.json", service)
    assert found["sprite"] == "../sprites/sprite" and found["glyphs"] == "../fonts/{fontstack}/{range}.pbf"
    assert found["sources"]["esri"] == {"type": "vector", "url": "../../"}
    assert found["sources"]["again"] == {"type": "vector", "url": "../../"}
    assert elsewhere == ["hills", "photos"] and "canary" not in json.dumps(found)


# ---- gathering


class Kept(dict[str, bytes]):
    """What a package would hold."""

    def has(self, name: str) -> bool:
        return name in self

    def put(self, name: str, data: bytes) -> None:
        self[name] = data


SERVICE = "https://gis.example.org/arcgis/rest/services/Streets/VectorTileServer"


def gather(
    there: Mapping[str, bytes], *, kept: Kept | None = None, style: Any = None, allow: tuple[str, ...] = (),
    stop_after: int | None = None,
) -> tuple[Kept, list[str], list[str]]:  # fmt: skip
    """What is kept, told and asked where a service has these resources."""
    kept, asked = kept if kept is not None else Kept(), list[str]()

    async def ask(address: str) -> Document:
        asked.append(address)
        name = address.partition("?")[0].replace("%20", " ").partition("/resources/")[2]
        if name not in there:
            raise DocumentError(f"{address} is not there (404)", status=404)
        return Document(address, {}, there[name])

    home = origin_of(SERVICE)
    assert home is not None
    gathering = Gathering(
        service=SERVICE, style_url=f"{SERVICE}/resources/styles/root.json", style=style, home=home, allow_hosts=allow,
        ask=ask, keep=kept, stopped=lambda: stop_after is not None and len(asked) >= stop_after,
    )  # fmt: skip
    told = asyncio.run(gathering.run())
    return kept, told, asked


HELD = {**resources(), "info": listed(resources())}


def test_style_sprites_and_the_listed_glyphs_are_gathered_each_asked_once() -> None:
    kept, told, asked = gather(HELD)
    assert told == [] and set(kept) == set(resources())
    assert kept["fonts/Arial Regular/256-511.pbf"] == resources()["fonts/Arial Regular/256-511.pbf"]
    assert len(asked) == len(set(asked)) == len(resources()) + 1


def test_what_is_there_already_is_not_asked_again() -> None:
    kept, _, _ = gather(HELD)
    assert gather(HELD, kept=kept)[2] == []
    del kept["styles/root.json"], kept["sprites/sprite.png"]
    _, told, asked = gather(HELD, kept=kept)
    assert told == [] and len(asked) == 3  # the style, the list of fonts, the sprite


def test_without_a_list_every_range_is_asked_and_a_font_that_is_not_there_only_once() -> None:
    without = {name: data for name, data in HELD.items() if name != "info"}
    kept, told, asked = gather(without)
    assert set(kept) == set(resources()) and told == []
    assert sum("/fonts/" in address for address in asked) == 256
    none = {name: data for name, data in without.items() if "fonts" not in name}
    kept, told, asked = gather(none)
    assert sum("/fonts/" in address for address in asked) == 1
    assert told == [f"fonts that are not to be had: {FONT}; their texts will be missing"]
    assert "styles/root.json" in kept


def test_missing_sprites_and_a_missing_style_are_told() -> None:
    kept, told, _ = gather({name: data for name, data in HELD.items() if "sprite" not in name})
    assert "styles/root.json" in kept and any("sprites are not to be had" in text for text in told)
    kept, told, _ = gather({})
    assert kept == {} and len(told) == 1 and "plain style" in told[0]
    kept, told, _ = gather({**HELD, "styles/root.json": b'{"error": {"code": 498}}'})
    assert kept == {} and "is no style" in told[0]


def test_a_login_page_is_no_resource() -> None:
    kept, told, _ = gather({**HELD, "sprites/sprite.png": b"<html>login</html>"})
    assert "sprites/sprite.png" not in kept and any("sprites" in text for text in told)


def test_resources_on_another_host_need_its_permission() -> None:
    style = {**STYLE, "sprite": "https://cdn.example.net/resources/sprites/sprite"}
    kept, told, asked = gather(HELD, style=style)
    assert not any("cdn.example.net" in address for address in asked)
    assert "sprites/sprite.png" not in kept and any("--allow-host cdn.example.net" in text for text in told)
    kept, told, asked = gather(HELD, style=style, allow=("cdn.example.net",))
    assert "sprites/sprite.png" in kept and told == []


def test_a_font_whose_name_no_file_system_holds_is_told() -> None:
    style = {**STYLE, "layers": [{"layout": {"text-field": "x", "text-font": ["../../etc"]}}]}
    kept, told, asked = gather(HELD, style=style)
    assert not any("etc" in name for name in kept) and not any("etc" in address for address in asked)
    assert any("../../etc" in text for text in told)


def test_a_stop_ends_it_without_the_style_that_says_all_is_there() -> None:
    kept, _, asked = gather(HELD, stop_after=3)
    assert "styles/root.json" not in kept and len(asked) < 9
    assert set(gather(HELD, kept=kept)[0]) == set(resources())


def test_a_service_document_without_tiles_is_refused() -> None:
    with pytest.raises(SourceError, match="no tiles"):
        make(tileInfo=None)


# ---- portals

ITEM = f"/sharing/rest/content/items/{ID}"


def at_portal(*, styled: bool, layer: bool) -> VectorSource:
    """The one source of a portal's item, or of a web map's layer that names only an item."""
    own = {**STYLE, "name": "Own", "sources": {"esri": {"type": "vector", "url": "{url}"}}}
    about: dict[str, Any] = {"type": "Vector Tile Service", "url": "{url}"}
    base = ITEM if not layer else f"/sharing/rest/content/items/{'f' * 32}"
    documents = {base: about, **({f"{base}/resources/styles/root.json": own} if styled else {})}
    if layer:
        vector = {"layerType": "VectorTileLayer", "title": "Roads", "itemId": "f" * 32}
        documents |= {ITEM: {"type": "Web Map"}, f"{ITEM}/data": {"operationalLayers": [vector]}}

    async def main() -> VectorSource:
        site = ArcGisSite(kind="vector", grid=schemes.WEB_MERCATOR_512)
        async with FaultyService(site) as service:
            text = json.dumps(documents).replace("{url}", service.url)
            async with FaultServer(Portal(json.loads(text))) as portal:
                hosts = (service.origin.removeprefix("http://"),)
                async with Session(Access(allow_hosts=hosts, environ={})) as session:
                    opened = await open_services(f"{portal.origin}/home/item.html?id={ID}", session)
                    (found,) = opened.layers
                    assert isinstance(found.source, VectorSource)
                    return found.source

    return asyncio.run(main())


@pytest.mark.parametrize("layer", [False, True])
def test_an_items_own_style_counts_before_the_services(layer: bool) -> None:
    source = at_portal(styled=True, layer=layer)
    assert source.style["name"] == "Own" and "/sharing/" in source.style_url
    plain = at_portal(styled=False, layer=layer)
    assert plain.style is None and plain.style_url.endswith("/VectorTileServer/resources/styles/root.json")


def test_a_service_with_a_style_says_what_a_format_of_tiles_alone_leaves_out() -> None:
    info = make(defaultStyles="resources/styles").info
    for format in ("mbtiles", "pmtiles", "xyz", "compactv2"):
        assert any("the style, sprites and fonts of" in text for text in require_can_hold(format, info, [3]))
    assert not any("left out" in text for text in require_can_hold("vtpk", info, [3]))
    assert not any("left out" in text for text in require_can_hold("mbtiles", make().info, [3]))
