"""Web maps from files and portals: which layers are taken, under which name, and why the others aren't."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from harvester.errors import AuthError, SourceError, UsageError
from harvester.job import Auth
from harvester.sources.describe import describe, describe_map
from harvester.sources.map_layers import layers_of
from harvester.sources.open import Opened, Options, open_services, open_source
from harvester.sources.portal_item import item_in
from harvester.testing import ArcGisSite, FaultServer, FaultyService, TicketOffice
from harvester.testing.log import Asked, Place
from harvester.testing.reply import Reply
from harvester.tiling.tile import Tile
from harvester.transport.documents import Document, read_json
from harvester.transport.session import Access, Session

ID = "0123456789abcdef0123456789abcdef"


class Portal:
    """A site of JSON documents by path; everything else is 404."""

    def __init__(self, documents: Mapping[str, Any]) -> None:
        self.documents = dict(documents)

    def place(self, method: str, target: str) -> Place:
        return Place("document")

    def answer(self, asked: Asked) -> Reply:
        value = self.documents.get(asked.path)
        if value is None:
            return Reply(status=404, body=b"<html>", content_type="text/html")
        return Reply(body=json.dumps(value).encode(), content_type="application/json")

    def picture(self, tile: Tile, **_: Any) -> Reply:
        return Reply(status=404)


def tiled(url: str, title: str = "Streets", **more: Any) -> dict[str, Any]:
    return {"layerType": "ArcGISTiledMapServiceLayer", "url": url, "title": title, **more}


def web_map(*layers: dict[str, Any], base: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"operationalLayers": list(layers), "baseMap": {"baseMapLayers": list(base), "title": "Base"}}


def opened(tmp_path: Path, document: Any, options: Options | None = None) -> Opened:
    """Open a document as a file, after ``{url}`` in it was replaced by a running service's address."""

    async def main() -> Opened:
        async with FaultyService() as service, FaultyService(ArcGisSite(document={"tileInfo": None})) as dynamic:
            text = json.dumps(document).replace("{url}", service.url).replace("{dynamic}", dynamic.url)
            path = tmp_path / "map.json"
            path.write_text(text, encoding="utf-8")
            async with Session(Access(environ={})) as session:
                return await open_services(str(path), session, options)

    return asyncio.run(main())


def test_layers_come_in_drawing_order_with_those_of_groups(tmp_path: Path) -> None:
    group = {"layerType": "GroupLayer", "title": "Group", "layers": [tiled("{url}", "in group")]}
    nested = {"layerType": "GroupLayer", "layers": [group, tiled("{url}", "beside")]}
    reference = tiled("{url}", "labels", isReference=True)
    result = opened(tmp_path, web_map(nested, tiled("{url}", "top"), base=(reference, tiled("{url}", "base"))))
    assert [layer.name for layer in result.layers] == ["base", "in group", "beside", "top", "labels"]
    assert result.is_map and result.skipped == ()


def test_layers_of_other_kinds_are_named_with_the_reason(tmp_path: Path) -> None:
    document = web_map(
        {"layerType": "VectorTileLayer", "title": "Vector"},
        {"layerType": "ArcGISFeatureLayer", "title": "Features", "url": "{url}/0"},
        {"layerType": "WebTiledLayer", "title": "Template", "templateUrl": "https://x.example.org/{level}/{row}/{col}"},
        {"type": "BingMapsAerial", "title": "Bing"},
        {"layerType": "Mystery", "title": "New"},
        {"title": "Nothing"},
        {"layerType": "ArcGISTiledMapServiceLayer", "title": "No address"},
        {"layerType": "ArcGISTiledMapServiceLayer", "title": "Item only", "itemId": ID},
        tiled("file:///etc/passwd", "File"),
        tiled("//", "Odd"),
        {"layerType": "ArcGISMapServiceLayer", "title": "Dynamic", "url": "{dynamic}"},
        tiled("{url}", "Taken"),
        7,  # type: ignore[arg-type]
    )
    result = opened(tmp_path, document)
    reasons = dict(result.skipped)
    assert [layer.name for layer in result.layers] == ["Taken"]
    assert "no service" in reasons["Vector"] and "features" in reasons["Features"]
    assert "templates" in reasons["Template"] and "Bing" in reasons["Bing"]
    assert "'Mystery'" in reasons["New"] and "doesn't say" in reasons["Nothing"]
    assert "names no service" in reasons["No address"] and "item of a portal" in reasons["Item only"]
    assert "no http(s) address" in reasons["File"] and "no http(s) address" in reasons["Odd"]
    assert "draws its pictures on request" in reasons["Dynamic"]
    described = describe_map(result.source, [(x.name, x.source.info) for x in result.layers], result.skipped)
    assert described["kind"] == "web-map" and described["layers"][0]["name"] == "Taken"
    assert {"name": "Bing", "reason": reasons["Bing"]} in described["skipped"]


def test_a_layers_own_range_of_scales_is_carried_and_zero_is_none(tmp_path: Path) -> None:
    ranged = tiled("{url}", "ranged", minScale=577790.554289, maxScale=0)
    older = tiled("{url}", "older", layerDefinition={"minScale": 5000, "maxScale": 1000})
    result = opened(tmp_path, web_map(ranged, older))
    ranges = [(layer.source.info.min_scale, layer.source.info.max_scale) for layer in result.layers]
    assert ranges == [(577790.554289, None), (5000.0, 1000.0)]


def test_the_same_service_twice_is_two_layers(tmp_path: Path) -> None:
    result = opened(tmp_path, web_map(tiled("{url}"), tiled("{url}")))
    assert [layer.name for layer in result.layers] == ["Streets", "Streets"]
    assert result.layers[0].source is not result.layers[1].source


def test_a_token_baked_into_a_layers_address_is_cut_and_not_used(tmp_path: Path) -> None:
    result = opened(tmp_path, web_map(tiled("{url}?token=canary"), base=({"url": "{url}/", "id": "old"},)))
    for layer in result.layers:
        request = layer.source.request(Tile(1, 0, 0), 0)
        assert "canary" not in request.path and "canary" not in str(request.host.headers)
    assert [layer.name for layer in result.layers] == ["old", "Streets"]


def test_a_layer_that_cannot_be_reached_stops_the_map_and_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, web_map(tiled("{url}x/Gone/MapServer", "Lost")))
    assert "layer 'Lost'" in caught.value.message and "404" in caught.value.message


@pytest.mark.parametrize("document", [{}, [], {"layers": []}, "x", {"operationalLayers": 3}])
def test_a_file_that_is_no_web_map_says_so_or_is_empty(tmp_path: Path, document: Any) -> None:
    if document == {"operationalLayers": 3}:
        assert opened(tmp_path, document).layers == ()
        return
    with pytest.raises(SourceError, match="no web map"):
        opened(tmp_path, document)


def test_groups_without_end_are_refused() -> None:
    layer: dict[str, Any] = tiled("https://x.example.org/MapServer")
    for _ in range(40):
        layer = {"layerType": "GroupLayer", "layers": [layer]}
    with pytest.raises(SourceError, match="nested"):
        list(layers_of(web_map(layer)))
    with pytest.raises(SourceError, match="more than 1000 layers"):
        list(layers_of(web_map(*[tiled("https://x.example.org/MapServer")] * 1001)))


def test_one_source_of_a_map_of_many_names_them(tmp_path: Path) -> None:
    path = tmp_path / "map.json"

    async def main() -> None:
        async with FaultyService() as service, Session(Access(environ={})) as session:
            path.write_text(json.dumps(web_map(tiled(service.url, "One"), tiled(service.url, "Two"))))
            with pytest.raises(SourceError) as caught:
                await open_source(str(path), session)
            assert "One" in caught.value.hint and "Two" in caught.value.hint
            path.write_text(json.dumps(web_map(tiled(service.url, "One"))))
            assert (await open_source(str(path), session)).info.name == "Streets"
            path.write_text(json.dumps(web_map({"layerType": "KML", "title": "Lines"})))
            with pytest.raises(SourceError, match="no tiled layer"):
                await open_source(str(path), session)

    asyncio.run(main())


# ---- portals


@pytest.mark.parametrize(
    ("address", "portal", "item"),
    [
        (f"https://org.example.org/home/item.html?id={ID}", "https://org.example.org", ID),
        (f"https://gis.example.org/portal/home/item.html?id={ID}#overview", "https://gis.example.org/portal", ID),
        (f"https://org.example.org/home/webmap/viewer.html?webmap={ID}", "https://org.example.org", ID),
        (f"https://org.example.org/apps/mapviewer/index.html?webmap={ID}", "https://org.example.org", ID),
        (f"https://org.example.org/sharing/rest/content/items/{ID}", "https://org.example.org", ID),
        (f"https://org.example.org/sharing/rest/content/items/{ID}/data?f=json", "https://org.example.org", ID),
        (
            f"https://gis.example.org/portal/sharing/content/items/{ID}?token=canary",
            "https://gis.example.org/portal",
            ID,
        ),
    ],
)
def test_addresses_of_items(address: str, portal: str, item: str) -> None:
    found = item_in(address)
    assert found is not None and (str(found.portal), found.id) == (portal, item)
    assert found.url("/data") == f"{portal}/sharing/rest/content/items/{item}/data?f=json"


def test_an_address_of_a_service_is_no_item() -> None:
    assert item_in("https://gis.example.org/arcgis/rest/services/home/MapServer") is None
    assert item_in("map.json") is None
    with pytest.raises(UsageError, match="names no item"):
        item_in("https://org.example.org/home/item.html?id=../../x")


def with_portal(
    documents: Mapping[str, Any], source: str, *, allow: bool = True, options: Options | None = None
) -> Opened:
    """Open a portal item; ``{url}`` in documents is a service on another port, which ``allow`` allows."""

    async def main() -> Opened:
        async with FaultyService() as service:
            text = json.dumps(documents).replace("{url}", service.url)
            async with FaultServer(Portal(json.loads(text))) as portal:
                hosts = (f"127.0.0.1:{service.port}",) if allow else ()
                async with Session(Access(allow_hosts=hosts, environ={})) as session:
                    return await open_services(source.replace("{portal}", portal.origin), session)

    return asyncio.run(main())


ITEM = f"/sharing/rest/content/items/{ID}"
OTHER = "f" * 32


def test_a_web_map_item_is_opened_with_layers_by_address_and_by_item() -> None:
    documents = {
        ITEM: {"type": "Web Map", "title": "My map"},
        f"{ITEM}/data": web_map(
            tiled("{url}", "By address"),
            {"layerType": "ArcGISTiledMapServiceLayer", "title": "By item", "itemId": OTHER},
        ),
        f"/sharing/rest/content/items/{OTHER}": {"type": "Map Service", "url": "{url}"},
    }
    result = with_portal(documents, f"{{portal}}/home/item.html?id={ID}")
    assert [layer.name for layer in result.layers] == ["By address", "By item"]


def test_a_portals_layers_on_another_host_are_skipped_with_the_option_that_allows_them() -> None:
    documents = {ITEM: {"type": "Web Map"}, f"{ITEM}/data": web_map(tiled("{url}", "Far"))}
    result = with_portal(documents, f"{{portal}}/home/item.html?id={ID}", allow=False)
    ((name, reason),) = result.skipped
    assert name == "Far" and "another host" in reason and "--allow-host 127.0.0.1:" in reason
    assert result.layers == ()


def test_an_item_of_a_tile_layer_is_its_service() -> None:
    documents = {ITEM: {"type": "Map Service", "url": "{url}"}}
    result = with_portal(documents, f"{{portal}}/home/item.html?id={ID}")
    assert [layer.name for layer in result.layers] == ["Streets"] and not result.is_map
    with pytest.raises(SourceError) as caught:
        with_portal(documents, f"{{portal}}/home/item.html?id={ID}", allow=False)
    assert "--allow-host" in caught.value.hint


def test_an_item_without_a_service_says_its_type() -> None:
    with pytest.raises(SourceError, match="'PDF'"):
        with_portal({ITEM: {"type": "PDF"}}, f"{{portal}}/home/item.html?id={ID}")


def test_a_portals_token_is_not_shown_to_other_hosts() -> None:
    documents = {ITEM: {"type": "Web Map"}, f"{ITEM}/data": web_map(tiled("{url}", "Far"))}
    result = with_portal(documents, f"{{portal}}/home/item.html?id={ID}&token=canary")
    request = result.layers[0].source.request(Tile(1, 0, 0), 0)
    assert "canary" not in request.path + str(request.host.headers) + result.source


def test_a_token_from_the_environment_is_shown_only_to_layers_that_refuse_without(tmp_path: Path) -> None:
    async def main() -> None:
        office = TicketOffice(tokens={"canary"})
        async with FaultyService() as public, FaultyService(ArcGisSite(office=office)) as secured:
            path = tmp_path / "map.json"
            path.write_text(json.dumps(web_map(tiled(public.url, "Open"), tiled(secured.url, "Closed"))))
            async with Session(Access(environ={})) as session:
                options = Options(auth=Auth(token_env="T"), environ={"T": "canary"})
                result = await open_services(str(path), session, options)
                assert [layer.name for layer in result.layers] == ["Open", "Closed"]
                without = await open_services(str(path), session)
                assert [layer.name for layer in without.layers] == ["Open"]
                ((name, error),) = without.lost
                assert (name, type(error)) == ("Closed", AuthError)
                assert "layer 'Closed'" in error.message
            assert not any(b"canary" in asked.raw for asked in public.log)
            assert "canary" not in str(result.layers[0].source.request(Tile(1, 0, 0), 0).host.headers)

    asyncio.run(main())


def test_scales_of_a_service_as_json() -> None:
    async def main() -> None:
        site = ArcGisSite(format="JPEG", min_lod=1, max_lod=3, tilemap="on")
        async with FaultyService(site) as service, Session(Access(environ={})) as session:
            described = describe((await open_source(service.url + "?token=canary", session)).info)
            assert json.loads(json.dumps(described)) == described
            assert list(described) == [
                "source", "kind", "name", "crs", "tile", "origin", "extent", "min_lod", "max_lod",
                "attribution", "lods", "capabilities",
            ]  # fmt: skip
            assert (described["source"], described["kind"], described["crs"]) == (
                service.url,
                "arcgis-map",
                "EPSG:3857",
            )
            assert described["tile"] == {"width": 256, "height": 256, "format": "JPEG"}
            assert described["origin"] == [-20037508.342787, 20037508.342787]
            assert (described["min_lod"], described["max_lod"], len(described["lods"])) == (1, 3, 24)
            assert described["lods"][5]["zoom"] == 5 and described["lods"][0]["scale"] == 591657527.591555
            assert described["capabilities"] == {"tilemap": True, "export_tiles": False, "max_export_tiles": None}

    asyncio.run(main())


@pytest.mark.shared_data
def test_captured_web_maps(shared_data: Path) -> None:
    def layers(name: str) -> list[tuple[str, str]]:
        path = shared_data / "webmap" / name
        document = read_json(Document(str(path), {}, path.read_bytes()))
        return [(layer.title, layer.kind) for layer in layers_of(document)]

    assert layers("webmap_hillshade_vectortile.json") == [
        ("World Hillshade", "ArcGISTiledMapServiceLayer"),
        ("World Topographic Map", "VectorTileLayer"),
        ("ROW Permits", "ArcGISFeatureLayer"),
    ]
    assert layers("webmap_metadata_mock.json") == [("World_Topo_Map", "ArcGISTiledMapServiceLayer")]
