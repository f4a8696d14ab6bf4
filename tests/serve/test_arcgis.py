"""The ArcGIS REST service over real connections: what clients ask, and what they get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
import numpy as np
import pytest

from harvester.crs import WEB_MERCATOR, Crs
from harvester.edges import CacheInfo, TileFormat
from harvester.errors import SourceError, UnsupportedFormatError, UsageError
from harvester.serve.arcgis import make_app, start_server
from harvester.serve.documents import service_document
from harvester.tiling.scheme import Box, Lod, TilingScheme
from harvester.tiling.tile import BLOCK, BlockKey, Tile, block_of

PNG = b"\x89PNG\r\n\x1a\n" + b"a tile"
JPEG = b"\xff\xd8\xff" + b"another"

SCHEME = TilingScheme(
    crs=Crs(wkid=26918, latest_wkid=26918),
    origin_x=-5120900.0,
    origin_y=9998100.0,
    tile_width=256,
    tile_height=512,
    lods=(
        Lod(level=3, resolution=66.1459656252646, scale=250000),
        Lod(level=4, resolution=26.458386250105836, scale=100000),
    ),
)


class DictCache:
    """A cache of a few tiles."""

    def __init__(
        self, tiles: Mapping[Tile, bytes], *, kind: TileFormat = TileFormat.MIXED, scheme: TilingScheme = SCHEME
    ) -> None:
        self.tiles = dict(tiles)
        self.reads = 0
        extent = Box(475778.1, 4412107.6, 503695.1, 4442655.9)
        self.info = CacheInfo(
            format="memory",
            scheme=scheme,
            tile_format=kind,
            name="Streets & <Lanes>",
            attribution="© Streets",
            extent=extent,
        )

    def levels(self) -> list[int]:
        return sorted({tile.level for tile in self.tiles})

    def read(self, level: int, row: int, col: int) -> bytes | None:
        assert level in (3, 4) and row >= 0 and col >= 0, "a reader is asked for tiles of its scheme only"
        self.reads += 1
        return self.tiles.get(Tile(level, row, col))

    def present(self, key: BlockKey) -> np.ndarray:
        assert key.level in (3, 4) and key.row >= 0 and key.col >= 0
        mask = np.zeros((BLOCK, BLOCK), dtype=bool)
        for tile in self.tiles:
            if block_of(tile) == key:
                mask.reshape(-1)[key.position(tile)] = True
        return mask


TILES = {
    Tile(3, 328, 330): PNG,
    Tile(3, 328, 331): JPEG,
    Tile(3, 329, 383): PNG,
    Tile(3, 329, 384): PNG,
    Tile(4, 821, 826): PNG,
}

Ask = Callable[..., Awaitable[tuple[int, Mapping[str, str], bytes]]]


def asking(work: Callable[[Ask, DictCache], Awaitable[None]], cache: DictCache | None = None, **options: Any) -> None:
    """Serve a cache as ``Streets`` and ``Town/Streets``, and let ``work`` ask it."""
    served = cache or DictCache(TILES)

    async def run() -> None:
        server = await start_server(make_app({"Streets": served, "Town/Streets": served}, **options))
        try:
            async with aiohttp.ClientSession(server.url) as session:

                async def ask(path: str, method: str = "GET", **more: Any) -> tuple[int, Mapping[str, str], bytes]:
                    async with session.request(method, "/arcgis/rest" + path, **more) as answer:
                        return answer.status, answer.headers, await answer.read()

                await work(ask, served)
        finally:
            await server.close()

    asyncio.run(run())


SERVICE = "/services/Streets/MapServer"


def test_every_tile_comes_as_the_bytes_that_the_cache_holds() -> None:
    async def work(ask: Ask, cache: DictCache) -> None:
        for tile, body in cache.tiles.items():
            status, headers, got = await ask(f"{SERVICE}/tile/{tile}")
            assert (status, got) == (200, body)
            assert headers["Content-Type"] == ("image/png" if body == PNG else "image/jpeg")
            assert headers["Cache-Control"] == "max-age=86400"
            assert headers["Access-Control-Allow-Origin"] == "*"

    asking(work)


def test_an_absent_tile_is_404_whether_its_level_exists_or_not() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        for address in ("3/0/0", "4/821/825", "5/0/0", "3/-1/0", "3/0/-1"):
            status, headers, body = await ask(f"{SERVICE}/tile/{address}")
            assert (status, headers["Content-Type"]) == (404, "text/html"), address
            assert body.startswith(b"<html>")

    asking(work)


def test_a_tile_address_that_is_no_number_is_an_arcgis_error_in_a_200() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, _, body = await ask(f"{SERVICE}/tile/3/x/0")
        assert (status, json.loads(body)["error"]["code"]) == (200, 400)

    asking(work)


def test_a_known_etag_gets_304_and_another_one_the_tile() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        path = f"{SERVICE}/tile/3/328/330"
        _, headers, _ = await ask(path)
        tag = headers["ETag"]
        for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            status, again, body = await ask(path, headers={"If-None-Match": condition})
            assert (status, body, again["ETag"]) == (304, b"", tag), condition
        status, _, body = await ask(path, headers={"If-None-Match": '"other"'})
        assert (status, body) == (200, PNG)
        _, other, _ = await ask(f"{SERVICE}/tile/3/328/331")
        assert other["ETag"] != tag

    asking(work)


def test_head_gives_the_headers_alone() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, headers, body = await ask(f"{SERVICE}/tile/3/328/330", method="HEAD")
        assert (status, body, headers["Content-Length"]) == (200, b"", str(len(PNG)))

    asking(work)


def test_a_browser_may_ask_from_any_page() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, headers, _ = await ask(SERVICE, method="OPTIONS")
        assert status == 204
        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Access-Control-Allow-Headers"] == "*"

    asking(work)


def test_the_tilemap_says_what_reading_says() -> None:
    async def work(ask: Ask, cache: DictCache) -> None:
        _, headers, body = await ask(f"{SERVICE}/tilemap/3/256/256/128/128?f=json")
        answer = json.loads(body)
        assert headers["Content-Type"].startswith("application/json")
        assert answer["adjusted"] is False
        assert answer["location"] == {"left": 256, "top": 256, "width": 128, "height": 128}
        assert len(answer["data"]) == 128 * 128
        for index, value in enumerate(answer["data"]):
            tile = Tile(3, 256 + index // 128, 256 + index % 128)
            assert value == (tile in cache.tiles)

    asking(work)


def test_a_window_across_a_bundle_border_is_clipped_to_the_bundle_of_its_first_tile() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        _, _, body = await ask(f"{SERVICE}/tilemap/3/329/382/8/4")
        answer = json.loads(body)
        assert answer["adjusted"] is True
        assert answer["location"] == {"left": 382, "top": 329, "width": 2, "height": 4}
        assert answer["data"] == [0, 1, 0, 0, 0, 0, 0, 0]
        _, _, body = await ask(f"{SERVICE}/tilemap/3/329/384/1/1")
        assert json.loads(body)["data"] == [1]

    asking(work)


def test_a_window_of_nothing_in_a_bundle_of_something_is_all_zeros_at_full_length() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        _, _, body = await ask(f"{SERVICE}/tilemap/3/256/256/32/32")
        assert json.loads(body)["data"] == [0] * 1024

    asking(work)


@pytest.mark.parametrize("window", ["3/0/0/128/128", "5/0/0/1/1", "3/-128/0/8/8"])
def test_a_bundle_that_is_not_there_is_error_422(window: str) -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, _, body = await ask(f"{SERVICE}/tilemap/{window}")
        assert (status, json.loads(body)["error"]["code"]) == (200, 422)

    asking(work)


@pytest.mark.parametrize("window", ["3/256/256/0/8", "3/256/256/8/-1", "3/256/x/8/8"])
def test_a_window_without_a_size_is_error_400(window: str) -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, _, body = await ask(f"{SERVICE}/tilemap/{window}")
        assert (status, json.loads(body)["error"]["code"]) == (200, 400)

    asking(work)


def test_a_service_without_tilemap_does_not_promise_one() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        _, _, body = await ask(f"{SERVICE}?f=json")
        assert "Tilemap" not in json.loads(body)["capabilities"]
        status, _, _ = await ask(f"{SERVICE}/tilemap/3/256/256/8/8")
        assert status == 404

    asking(work, tilemap=False)


@pytest.mark.parametrize("query", ["?f=json", "/?f=json", "?f=pjson", "/?f=PJSON"])
def test_the_service_document_says_all_that_a_client_needs(query: str) -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        status, headers, body = await ask(SERVICE + query)
        document = json.loads(body)
        assert status == 200
        assert headers["Content-Type"].startswith("application/json")
        assert document["singleFusedMapCache"] is True
        assert document["spatialReference"] == {"wkid": 26918, "latestWkid": 26918}
        info = document["tileInfo"]
        assert (info["rows"], info["cols"], info["dpi"], info["format"]) == (512, 256, 96, "MIXED")
        assert info["origin"] == {"x": -5120900.0, "y": 9998100.0}
        assert info["lods"] == [
            {"level": lod.level, "resolution": lod.resolution, "scale": lod.scale} for lod in SCHEME.lods
        ]
        assert document["fullExtent"]["xmin"] == 475778.1
        assert (document["minLOD"], document["maxLOD"]) == (3, 4)
        assert (document["minScale"], document["maxScale"]) == (250000, 100000)
        assert document["copyrightText"] == "© Streets"
        assert document["mapName"] == "Streets & <Lanes>"
        assert document["units"] == "esriMeters"
        assert "Tilemap" in document["capabilities"].split(",")

    asking(work)


def test_web_mercator_has_a_real_wkid_beside_the_latest() -> None:
    scheme = TilingScheme(
        crs=WEB_MERCATOR,
        origin_x=-20037508.342787,
        origin_y=20037508.342787,
        tile_width=256,
        tile_height=256,
        lods=(Lod(level=0, resolution=156543.033928, scale=591657527.591555),),
    )
    document = service_document("World", DictCache({Tile(0, 0, 0): PNG}, scheme=scheme), tilemap=True)
    assert document["spatialReference"] == {"wkid": 102100, "latestWkid": 3857}
    assert document["tileInfo"]["spatialReference"] == {"wkid": 102100, "latestWkid": 3857}


def test_a_person_gets_a_page_in_which_names_are_only_names() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        for path in (SERVICE, "/services", "/info"):
            status, headers, body = await ask(path)
            assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8"), path
            assert b"<Lanes>" not in body
        _, _, body = await ask("/services")
        assert b'href="/arcgis/rest/services/Town/Streets/MapServer"' in body or b"Streets" in body

    asking(work)


def test_the_directory_lists_services_and_folders() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        _, _, body = await ask("/services?f=json")
        document = json.loads(body)
        assert document["folders"] == ["Town"]
        assert document["services"] == [{"name": "Streets", "type": "MapServer"}]
        _, _, body = await ask("/services/Town?f=json")
        assert json.loads(body)["services"] == [{"name": "Town/Streets", "type": "MapServer"}]
        _, _, body = await ask("/services/Nowhere?f=json")
        assert json.loads(body)["error"]["code"] == 404
        status, _, body = await ask("/services/Town/Streets/MapServer/tile/3/328/330")
        assert (status, body) == (200, PNG)

    asking(work)


def test_a_tile_asked_twice_is_read_once_also_when_it_is_absent() -> None:
    async def work(ask: Ask, cache: DictCache) -> None:
        for _ in range(3):
            await ask(f"{SERVICE}/tile/3/328/330")
            await ask(f"{SERVICE}/tile/3/0/0")
        assert cache.reads == 2

    asking(work)


def test_with_nothing_held_every_answer_is_the_cache_of_now() -> None:
    async def work(ask: Ask, cache: DictCache) -> None:
        status, _, _ = await ask(f"{SERVICE}/tile/3/0/0")
        assert status == 404
        cache.tiles[Tile(3, 0, 0)] = PNG
        status, _, body = await ask(f"{SERVICE}/tile/3/0/0")
        assert (status, body) == (200, PNG)

    asking(work, held_bytes=0)


def test_threads_give_the_same_answers() -> None:
    async def work(ask: Ask, cache: DictCache) -> None:
        answers = await asyncio.gather(*(ask(f"{SERVICE}/tile/{tile}") for tile in cache.tiles))
        assert [body for _, _, body in answers] == list(cache.tiles.values())
        _, _, body = await ask(f"{SERVICE}/tilemap/3/328/330/2/1")
        assert json.loads(body)["data"] == [1, 1]

    asking(work, threads=2)


def test_a_token_is_asked_for_told_apart_and_taken_from_query_or_header() -> None:
    async def work(ask: Ask, _: DictCache) -> None:
        path = f"{SERVICE}/tile/3/328/330"
        status, _, body = await ask(path)
        assert (status, json.loads(body)["error"]["code"]) == (200, 499)
        status, _, body = await ask(f"{path}?token=old")
        assert (status, json.loads(body)["error"]["code"]) == (200, 498)
        assert (await ask(f"{path}?token=good"))[2] == PNG
        assert (await ask(path, headers={"X-Esri-Authorization": "Bearer good"}))[2] == PNG
        assert (await ask(path, headers={"Authorization": "Bearer good"}))[2] == PNG
        _, _, body = await ask("/info?f=json")
        auth = json.loads(body)["authInfo"]
        assert auth["isTokenBasedSecurity"] is True
        assert auth["tokenServicesUrl"].startswith("http://127.0.0.1:")

    asking(work, require_token=lambda token: token == "good")


def test_a_login_gets_a_token_and_a_wrong_one_an_error() -> None:
    def issue(username: str, password: str) -> tuple[str, int] | None:
        return ("good", 1_900_000_000_000) if (username, password) == ("ada", "secret") else None

    async def work(ask: Ask, _: DictCache) -> None:
        path = "/../tokens/generateToken"
        _, _, body = await ask(path, method="POST", data={"username": "ada", "password": "secret"})
        assert json.loads(body) == {"token": "good", "expires": 1_900_000_000_000, "ssl": False}
        _, _, body = await ask(path, method="POST", data={"username": "ada", "password": "guess"})
        assert json.loads(body)["error"] == {
            "code": 400,
            "message": "Unable to generate token.",
            "details": ["Invalid username or password."],
        }

    asking(work, issue_token=issue)


def test_vector_tiles_are_refused_with_a_remedy() -> None:
    with pytest.raises(UnsupportedFormatError) as refused:
        make_app({"Streets": DictCache({Tile(3, 0, 0): b"\x1f\x8b"}, kind=TileFormat.PBF)})
    assert "vector tiles" in refused.value.message
    assert refused.value.hint


def test_only_this_machine_can_reach_the_server() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(UsageError):
            asyncio.run(start_server(make_app({}), host))


def test_a_taken_port_is_an_error_that_names_it() -> None:
    async def run() -> None:
        first = await start_server(make_app({}))
        port = int(first.url.rsplit(":", 1)[1])
        try:
            with pytest.raises(SourceError, match=str(port)):
                await start_server(make_app({}), port=port)
        finally:
            await first.close()
            await first.close()

    asyncio.run(run())
