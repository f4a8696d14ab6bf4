"""What ``judge`` takes for a whole tile, and what it refuses with which reason."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harvester.edges import MAX_TILE_BYTES, Outcome, TileFormat, Verdict
from harvester.payload import MAX_DECODED, MAX_STRAY, decode_check, drifted, judge, looks_like_html, looks_like_json
from harvester.payload.lerc import fletcher32
from harvester.payload.mvt import layers_of

SIDE = 48
Samples = Mapping[str, tuple[bytes, str]]


def judged(
    body: bytes, stated: TileFormat = TileFormat.UNKNOWN, *, delimited: bool = True, side: int = SIDE
) -> Verdict:
    return judge(body, stated=stated, width=side, height=side, delimited=delimited)


def refused(body: bytes, **options: object) -> str:
    """The reason of a body that must be refused."""
    verdict = judged(body, **options)  # type: ignore[arg-type]
    assert verdict.outcome is Outcome.RETRY, verdict
    assert verdict.body == b""
    assert verdict.reason
    return verdict.reason


def test_a_whole_tile_of_every_kind_passes_unchanged(sample: str, samples: Samples) -> None:
    body, kind = samples[sample]
    for delimited in (True, False):
        assert judged(body, delimited=delimited) == Verdict(Outcome.WHOLE, "", body, kind)


def test_a_tile_cut_at_any_byte_is_refused(sample: str, samples: Samples) -> None:
    body, _ = samples[sample]
    for cut in range(len(body)):
        verdict = judged(body[:cut], delimited=False)
        if sample == "lerc1-bands" and verdict.outcome is Outcome.WHOLE:
            # Bands of LERC1 are not counted anywhere: only a cut at the very end of a band is a smaller whole tile.
            assert body[cut:].startswith(b"CntZImage ")
            continue
        assert verdict.outcome is Outcome.RETRY, cut
        assert judged(body[:cut]).outcome is Outcome.RETRY, cut


def test_a_cut_behind_the_signature_is_called_truncated(raster: str, samples: Samples) -> None:
    body, _ = samples[raster]
    reasons = {refused(body[:cut]) for cut in range(8, len(body))}
    assert reasons == {"truncated"}


def test_a_signature_that_breaks_off_is_called_truncated() -> None:
    for begin in (b"\x89PN", b"\xff", b"RIF", b"GIF8", b"Lerc2", b"CntZ", b"\x1f"):
        assert refused(begin) == "truncated"


@pytest.mark.parametrize("name", ["png8", "png32", "png-adam7"])
def test_any_flipped_bit_of_a_png_is_refused(name: str, samples: Samples) -> None:
    body = bytearray(samples[name][0])
    step = 1 if len(body) < 3000 else 3
    for at in range(0, len(body), step):
        for bit in range(8):
            body[at] ^= 1 << bit
            assert judged(bytes(body)).outcome is Outcome.RETRY, (at, bit)
            body[at] ^= 1 << bit


@pytest.mark.parametrize("name", ["lerc2-v3", "lerc2-v4", "lerc2-v6", "lerc2-bands"])
def test_a_flipped_bit_behind_a_lerc_checksum_is_refused(name: str, samples: Samples) -> None:
    body = bytearray(samples[name][0])
    for at in [*range(60), *range(60, len(body), 97)]:
        body[at] ^= 4
        assert judged(bytes(body)).outcome is Outcome.RETRY, at
        body[at] ^= 4


def test_stray_bytes_are_kept_only_when_the_length_was_stated(sample: str, samples: Samples) -> None:
    body, kind = samples[sample]
    if kind == "pbf":  # never: test_anything_but_a_member_behind_gzip_is_refused
        assert refused(body + b"\0\r\n") == "trailing_bytes"
        return
    assert judged(body + b"\0\r\n") == Verdict(Outcome.WHOLE, "", body + b"\0\r\n", kind)
    assert refused(body + b"\0\r\n", delimited=False) == "trailing_bytes"
    assert judged(body + b"\0" * MAX_STRAY).outcome is Outcome.WHOLE
    assert refused(body + b"\0" * (MAX_STRAY + 1)) == "trailing_bytes"


@pytest.mark.parametrize("page", [b"<html>notice</html>", b"\r\n<!DOCTYPE html>", b'\0\0 {"error": {"code": 500}}'])
def test_a_page_behind_a_tile_is_not_taken_for_padding(sample: str, samples: Samples, page: bytes) -> None:
    assert refused(samples[sample][0] + page) == "trailing_bytes"


def test_a_second_picture_behind_a_tile_is_refused(sample: str, samples: Samples) -> None:
    # Where a JPEG of one scan ends is not sought: a second one behind it passes.
    for second in ("png8", "webp") if sample in ("jpeg", "jpeg-thumbnail") else ("png8", "jpeg", "webp"):
        assert refused(samples[sample][0] + samples[second][0]) == "trailing_bytes", second


def test_a_picture_of_another_pixel_size_is_refused(raster: str, samples: Samples) -> None:
    body, kind = samples[raster]
    assert refused(body, side=SIDE + 1) == "wrong_size"
    assert judge(body, stated=TileFormat.UNKNOWN, width=SIDE, height=SIDE - 1).reason == "wrong_size"
    assert kind


def test_an_elevation_tile_may_overlap_its_neighbour_by_one_pixel(lerc: str, samples: Samples) -> None:
    body, _ = samples[lerc]
    assert judged(body, side=SIDE - 1).outcome is Outcome.WHOLE
    assert refused(body, side=SIDE - 2) == "wrong_size"
    assert refused(body, side=SIDE + 1) == "wrong_size"


def test_a_thumbnail_is_not_taken_for_the_picture(samples: Samples) -> None:
    body, _ = samples["jpeg-thumbnail"]
    assert refused(body, side=16) == "wrong_size"
    inner_end = body.index(b"\xff\xd9") + 2
    assert refused(body[:inner_end]) == "truncated"


def test_a_jpeg_of_many_scans_is_walked_to_its_own_end(samples: Samples) -> None:
    body, _ = samples["jpeg-progressive"]
    assert body.count(b"\xff\xda") > 3
    for scan in range(2, body.count(b"\xff\xda")):
        at = -1
        for _ in range(scan):
            at = body.index(b"\xff\xda", at + 1)
        # A table segment before the next scan whose content happens to end like a picture.
        assert refused(body[:at] + b"\xff\xc4\x00\x40\x00\xff\xd9") == "truncated"


def test_a_sequential_jpeg_with_a_scan_for_each_component_is_walked_too() -> None:
    def segment(code: int, data: bytes) -> bytes:
        return bytes([0xFF, code]) + struct.pack(">H", len(data) + 2) + data

    frame = segment(0xC0, struct.pack(">BHHB", 8, SIDE, SIDE, 2) + bytes([1, 17, 0, 2, 17, 0]))
    scans = [segment(0xDA, bytes([1, part, 0, 0, 63, 0])) + b"\x12\xff\x00\x34\xff\xd0\x56" for part in (1, 2)]
    table = segment(0xC4, b"\x00" * 20 + b"\xff\xd9")
    whole = b"\xff\xd8" + frame + scans[0] + table + scans[1] + b"\xff\xd9"
    assert judged(whole, delimited=False).outcome is Outcome.WHOLE
    for cut in range(3, len(whole)):
        assert refused(whole[:cut]) == "truncated", cut


def test_fill_bytes_before_a_marker_are_allowed(samples: Samples) -> None:
    body, _ = samples["jpeg"]
    assert judged(body[:2] + b"\xff\xff\xff" + body[2:]).outcome is Outcome.WHOLE


def chunks_of(png: bytes) -> list[bytes]:
    at, found = 8, []
    while at < len(png):
        end = at + 12 + struct.unpack_from(">I", png, at)[0]
        found.append(png[at:end])
        at = end
    return found


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_png_chunks_out_of_order_are_corrupt(samples: Samples) -> None:
    signature = b"\x89PNG\r\n\x1a\n"
    header, *rest = chunks_of(samples["png-adam7"][0])
    pixels, end = rest[:-1], rest[-1]
    text = chunk(b"tEXt", b"a\0b")
    whole = signature + header + text + b"".join(pixels) + text + end
    assert judged(whole).outcome is Outcome.WHOLE
    for broken in (
        [text, header, *pixels, end],
        [header, header, *pixels, end],
        [header, end],
        [header, pixels[0], text, *pixels[1:], end],
        [header, *pixels, chunk(b"IEND", b"x")],
        [header, pixels[0], chunk(b"PLTE", b"abc"), *pixels[1:], end],
        [header, chunk(b"PLTE", b"ab"), *pixels, end],
        [chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 3, 0, 0, 0, 0)), *pixels, end],
    ):
        assert refused(signature + b"".join(broken)) == "corrupt"


def test_a_palette_png_without_palette_is_corrupt(samples: Samples) -> None:
    body = samples["png8"][0]
    kept = [part for part in chunks_of(body) if part[4:8] != b"PLTE"]
    assert refused(body[:8] + b"".join(kept)) == "corrupt"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><html>Invalid Token</html>", "not_an_image"),
        (b"\xef\xbb\xbf \n<html></html>", "not_an_image"),
        (b"Service unavailable", "not_an_image"),
        (b"\0" * 100, "not_an_image"),
        (b"BM" + b"\0" * 100, "not_an_image"),
        (b'{"error":{"code":498}}', "error_page"),
        (b'<?xml version="1.0"?><ServiceExceptionReport/>', "error_page"),
        (b"\x0d\x0a\x1a\x0a\0\0\0\rIHDR", "not_an_image"),
    ],
)
def test_what_is_no_tile_is_refused_by_name(body: bytes, reason: str) -> None:
    for stated in TileFormat:
        if body or stated is not TileFormat.PBF:
            assert refused(body, stated=stated) == reason


def test_a_tile_larger_than_a_bundle_can_hold_is_refused(samples: Samples) -> None:
    assert refused(samples["png8"][0] + bytes(MAX_TILE_BYTES)) == "too_large"


def test_an_empty_vector_tile_is_absent_and_an_empty_picture_a_fault() -> None:
    assert judged(b"", TileFormat.PBF) == Verdict(Outcome.ABSENT, "empty")
    assert refused(b"", stated=TileFormat.PNG) == "empty"


def test_another_raster_type_is_whole_and_known_as_drift(samples: Samples) -> None:
    body, _ = samples["jpeg"]
    verdict = judged(body, TileFormat.PNG)
    assert (verdict.outcome, verdict.kind) == (Outcome.WHOLE, "jpg")
    assert drifted(TileFormat.PNG, "jpg")
    assert not drifted(TileFormat.MIXED, "jpg")
    assert not drifted(TileFormat.MIXED, "png")
    assert drifted(TileFormat.MIXED, "webp")
    assert not any(drifted(TileFormat.UNKNOWN, kind) for kind in ("png", "jpg", "webp", "gif", "lerc", "pbf"))


def test_a_picture_in_place_of_a_vector_tile_is_refused(samples: Samples) -> None:
    assert refused(samples["png8"][0], stated=TileFormat.PBF) == "format_drift"
    assert refused(samples["pbf-gzip"][0], stated=TileFormat.PNG) == "format_drift"


def test_a_vector_tile_inflates_to_its_end_or_is_refused(make_mvt: Callable[..., bytes]) -> None:
    tile = make_mvt("water")
    packed = gzip.compress(tile, mtime=0)
    assert judged(packed, TileFormat.PBF) == Verdict(Outcome.WHOLE, "", packed, "pbf")
    assert judged(gzip.compress(b""), TileFormat.PBF).outcome is Outcome.WHOLE
    flipped = packed[:-6] + bytes([packed[-6] ^ 1]) + packed[-5:]
    assert refused(flipped, stated=TileFormat.PBF) == "corrupt"
    assert refused(gzip.compress(b"<html>login</html>"), stated=TileFormat.PBF) == "not_an_image"
    two = packed + gzip.compress(make_mvt("road"), mtime=0)
    assert judged(two, TileFormat.PBF, delimited=False).outcome is Outcome.WHOLE


@pytest.mark.parametrize("stray", [b"garbage", b"\0", bytes(12), b"\x1f", b"\r\n"])
def test_anything_but_a_member_behind_gzip_is_refused(stray: bytes, make_mvt: Callable[..., bytes]) -> None:
    """Whole members in a row are one file (RFC 1952, 2.2); what is behind them, strict readers refuse."""
    members = [gzip.compress(make_mvt(name), mtime=0) for name in ("water", "road")]
    for body in (members[0], b"".join(members)):
        assert judged(body, TileFormat.PBF).outcome is Outcome.WHOLE
        assert decode_check(body, "pbf") is None
        assert layers_of(body)
        assert refused(body + stray, stated=TileFormat.PBF) == "trailing_bytes"
        assert refused(body + stray, stated=TileFormat.PBF, delimited=False) == "trailing_bytes"
        assert decode_check(body + stray, "pbf") == "trailing_bytes"
        assert layers_of(body + stray) == []
    assert refused(b"".join(members)[:-3], stated=TileFormat.PBF) == "truncated"


def test_a_gzip_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    body = b"".join(bomb.compress(bytes(1 << 20)) for _ in range((MAX_DECODED >> 20) + 1)) + bomb.flush()
    assert len(body) < 1 << 20
    assert refused(body, stated=TileFormat.PBF) == "too_large"


def test_a_plain_vector_tile_needs_a_stated_length(make_mvt: Callable[..., bytes]) -> None:
    tile = make_mvt("water", "road")
    assert judged(tile, TileFormat.PBF) == Verdict(Outcome.WHOLE, "", tile, "pbf")
    assert refused(tile, stated=TileFormat.PBF, delimited=False) == "truncated"
    assert refused(tile, stated=TileFormat.PNG) == "not_an_image"
    layer = len(make_mvt("water"))
    for cut in range(1, len(tile)):
        if cut != layer:
            assert refused(tile[:cut], stated=TileFormat.PBF) == "truncated"


def test_lerc_blobs_that_are_announced_must_come(make_lerc2: Callable[..., bytes]) -> None:
    announced = make_lerc2(6, blobs_to_come=1)
    assert refused(announced) == "truncated"
    assert refused(announced + make_lerc2(6, width=SIDE + 1)) == "corrupt"
    assert judged(announced + make_lerc2(6)).outcome is Outcome.WHOLE
    bands = make_lerc2(2) * 3
    assert judged(bands, delimited=False).outcome is Outcome.WHOLE
    # Bands of version 2 are not counted anywhere: only a cut between two of them can't be seen.
    for cut in range(len(bands) // 3 + 1, 2 * len(bands) // 3):
        assert refused(bands[:cut]) == "truncated", cut


def test_lerc_headers_that_lie_are_corrupt(make_lerc2: Callable[..., bytes], make_lerc1: Callable[..., bytes]) -> None:
    body = bytearray(make_lerc2(2))
    for at, value in ((6, 7), (6, -1), (10, 0), (14, -4), (26, 0), (26, -9)):
        broken = body.copy()
        struct.pack_into("<i", broken, at, value)
        assert refused(bytes(broken)) == "corrupt", (at, value)
    body = bytearray(make_lerc1())
    for at, value in ((10, 10), (14, 7), (18, 0), (22, -1), (42, -1)):
        broken = body.copy()
        struct.pack_into("<i", broken, at, value)
        assert refused(bytes(broken)) == "corrupt", (at, value)


@given(st.binary(max_size=2000), st.sampled_from([0, 1, 717, 718, 719, 720, 1436]))
@settings(max_examples=60, deadline=None)
def test_the_vectorised_checksum_equals_the_one_by_the_word(
    fletcher_twin: Callable[[bytes], int], data: bytes, more: int
) -> None:
    data += b"\xff" * more
    assert fletcher32(data) == fletcher_twin(data)


@given(
    st.sampled_from(
        [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF", b"GIF89a", b"Lerc2 ", b"CntZImage ", b"\x1f\x8b", b"\x1a"]
    ),
    st.binary(max_size=200),
    st.sampled_from(list(TileFormat)),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_it_raise(begin: bytes, rest: bytes, stated: TileFormat, delimited: bool) -> None:
    verdict = judge(begin + rest, stated=stated, width=256, height=256, delimited=delimited)
    assert isinstance(verdict, Verdict)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_no_damage_to_a_real_tile_makes_it_raise(samples: Samples, data: st.DataObject) -> None:
    body = bytearray(samples[data.draw(st.sampled_from(sorted(samples)))][0])
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body) - 1))
        body[at : at + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    judged(bytes(body), data.draw(st.sampled_from(list(TileFormat))))


def test_documents_are_known_by_their_first_character() -> None:
    assert looks_like_json(b' \r\n{"a":1}')
    assert looks_like_json(b"\xef\xbb\xbf[1]")
    assert not looks_like_json(b"")
    assert looks_like_html(b"\n<html>")
    assert looks_like_html(b"<!-- x -->")
    assert not looks_like_html(b"< 5")
    assert not looks_like_html(b"\x89PNG<html>")


@pytest.mark.shared_data
def test_real_tiles_pass_and_the_damaged_ones_of_the_sample_package_do_not(shared_data: Path) -> None:
    def tiles(data: bytes) -> list[bytes]:
        entries = [entry for (entry,) in struct.iter_unpack("<Q", data[64:131136])]
        places = [(entry & (1 << 40) - 1, entry >> 40) for entry in entries if entry >> 40]
        return [data[at : at + size] for at, size in places]

    import zipfile

    seen = 0
    for path in [*shared_data.glob("gwc_v2/**/*.bundle"), *shared_data.glob("esri_cc2/**/*.bundle")]:
        for tile in tiles(path.read_bytes()):
            assert judged(tile, TileFormat.MIXED, delimited=False, side=256).outcome is Outcome.WHOLE
            seen += 1
    with zipfile.ZipFile(shared_data / "esri_tpkx" / "Usa.tpkx") as package:
        for name in package.namelist():
            if name.endswith(".bundle"):
                for tile in tiles(package.read(name)):
                    verdict = judged(tile, TileFormat.PNG, side=256)
                    damaged = "/L00/" in name or "/L01/" in name
                    assert verdict.reason == ("not_an_image" if damaged else ""), name
                    seen += 1
    for path in shared_data.glob("esri_cc2/sample_tiles/**/*.jpg"):
        assert judged(path.read_bytes(), TileFormat.JPEG, delimited=False, side=256).outcome is Outcome.WHOLE
        seen += 1
    assert seen > 150
