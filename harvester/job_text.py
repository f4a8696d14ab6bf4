"""The short texts of job files and the command line, to values: LODs, scales, boxes, times, sizes, shards, headers."""

from __future__ import annotations

import math
import re

from harvester.errors import UsageError

MAX_LEVEL = 1000
"""Level numbers above it are typing errors: ArcGIS schemes have at most a few dozen levels."""

MAX_ITEMS = 1000
"""Entries of one list of LODs or scales; more is no list that a person wrote."""

MAX_SHARDS = 1_000_000
"""More shards than that would hold less than one bundle block each even of the largest plans."""

MAX_SECONDS = 10 * 366 * 86400.0
"""Ten years: beyond it a duration is a typing error and overflows timers."""

MAX_BYTES = 1 << 60

SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}

BYTES = {
    "": 1,
    "b": 1,
    **{f"{prefix}{tail}": 1000**n for n, prefix in enumerate("kmgt", 1) for tail in ("", "b")},
    **{f"{prefix}{tail}": 1024**n for n, prefix in enumerate("kmgt", 1) for tail in ("i", "ib")},
}

SCALE_HINT = "Write the N of 1:N, such as 577790.554289."

THOUSANDS = re.compile(r"\d{1,3}(?:[,' \u00a0\u202f]\d{3})+(?:\.\d+)?")
"""A number with separators between its thousands, as tables show it."""

DURATION_HINT = 'Write "2h", "15m", "90s" or seconds.'

BYTES_HINT = 'Write "10GB", "500MiB" or bytes.'

NUMBER = r"\d+(?:\.\d*)?(?:[eE][+-]?\d{1,3})?|\.\d+"

FRAMING_HEADERS = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that say how a request is framed and routed: the transport's own (RFC 9110, sections 7.2 and 7.6.1)."""


def parse_lods(text: str) -> tuple[tuple[int, int], ...]:
    """``0-12,14`` to inclusive ranges ``((0, 12), (14, 14))`` in the order written. Raises UsageError."""
    ranges = []
    for part in _parts(text, 'Write levels and ranges with commas: "0-12,14".'):
        found = re.fullmatch(r"(\d{1,9})(?:\s*(?:-|\.\.|–)\s*(\d{1,9}))?", part, re.ASCII)
        if found is None:
            raise UsageError(f"not a level or a range of levels: {part!r:.80}", hint='Write "0-12,14".')
        first, last = int(found[1]), int(found[2] or found[1])
        ranges.append(check_level_range(first, last))
    return tuple(dict.fromkeys(ranges))


def check_level_range(first: int, last: int) -> tuple[int, int]:
    """An inclusive range of level numbers. Raises UsageError for a reversed one, with the swap shown."""
    if first > last:
        raise UsageError(f"the range of levels {first}-{last} runs backwards", hint=f"Did you mean {last}-{first}?")
    if not 0 <= first <= last <= MAX_LEVEL:
        raise UsageError(
            f"level {last if first >= 0 else first} is out of range 0-{MAX_LEVEL}",
            hint="Give the service's own level numbers: harvester scales SOURCE lists them.",
        )
    return first, last


def parse_scales(text: str) -> tuple[float, ...]:
    """``577790.554289;288895.277144`` to denominators, in the order written. Raises UsageError."""
    hint = 'Write denominators with ";" or "," between: "577790.554289;288895.277144".'
    if ";" in text:
        # With ";" between them, a comma inside one is a thousands separator.
        for part in text.split(";"):
            if THOUSANDS.fullmatch(part.strip()):
                raise _thousands(part.strip())
    return tuple(dict.fromkeys(parse_scale(part) for part in _parts(text, hint)))


def parse_scale(text: str) -> float:
    """One scale denominator; ``1:5000`` and ``5000`` mean the same. Raises UsageError."""
    plain = re.sub(r"^\s*1\s*:", "", text).strip()
    if THOUSANDS.fullmatch(plain):
        raise _thousands(plain)
    return check_scale(_float(plain, "a scale denominator", SCALE_HINT))


def _thousands(text: str) -> UsageError:
    plain = re.sub(r"[,' \u00a0\u202f]", "", text)
    return UsageError(f"the scale {text!r:.80} holds thousands separators", hint=f"Did you mean {plain}?")


def check_scale(value: float) -> float:
    """A scale denominator: finite and above 0. Raises UsageError."""
    if not math.isfinite(value) or value <= 0:
        raise UsageError(f"a scale denominator must be above 0, not {value!r}", hint=SCALE_HINT)
    return float(value)


def parse_bbox(text: str) -> tuple[float, float, float, float]:
    """``W,S,E,N`` in WGS 84 degrees; W > E crosses the antimeridian. Raises UsageError."""
    hint = 'Write "W,S,E,N" in degrees: "-105.3,39.6,-104.6,40.0".'
    return check_bbox([_float(part, "a number of degrees", hint) for part in _parts(text, hint)])


def check_bbox(values: list[float] | tuple[float, ...]) -> tuple[float, float, float, float]:
    """Four numbers as a WGS 84 box. Raises UsageError when they are none, with what they look like."""
    if len(values) != 4:
        raise UsageError(
            f"a box has four numbers, W,S,E,N; found {len(values)}",
            hint='Write "-105.3,39.6,-104.6,40.0", decimals with a point.',
        )
    west, south, east, north = (float(value) for value in values)
    shown = ",".join(f"{value:g}" for value in (west, south, east, north))
    if not all(math.isfinite(value) for value in (west, south, east, north)):
        raise UsageError(f"the box {shown} holds a number that is not finite", hint='Write "W,S,E,N" in degrees.')
    if not (-90 <= south <= 90 and -90 <= north <= 90):
        if max(map(abs, (south, north))) <= 360 and max(map(abs, (west, east))) <= 90:
            raise UsageError(
                f"the box {shown} looks swapped: latitudes end at 90", hint=f"Did you mean {_swapped(shown)}?"
            )
        raise UsageError(
            f"the box {shown} is not in degrees", hint="Give longitude and latitude, or use an AOI file with its CRS."
        )
    if max(abs(west), abs(east)) > 360 or east - west > 360:
        raise UsageError(f"the box {shown} has longitudes out of range", hint="Longitudes run from -180 to 180.")
    if west - east in (0, 360) or south == north:
        what = "width" if west - east in (0, 360) else "height"
        raise UsageError(f"the box {shown} has no {what}", hint="The order is W,S,E,N.")
    if south > north:
        raise UsageError(
            f"the box {shown} has its south above its north",
            hint=f"The order is W,S,E,N. Did you mean {west:g},{north:g},{east:g},{south:g}?",
        )
    return west, south, east, north


def parse_duration(text: str) -> float:
    """``2h``, ``90s``, ``15m``, ``1h30m`` or bare seconds, to seconds. Raises UsageError."""
    pieces = re.findall(rf"({NUMBER})\s*([a-z]*)", text.strip().lower(), re.ASCII)
    whole = re.sub(r"\s+", "", text.lower())
    if not pieces or "".join(number + unit for number, unit in pieces) != whole:
        raise UsageError(f"not a duration: {text!r:.80}", hint=DURATION_HINT)
    if any(unit not in SECONDS for _, unit in pieces) or (len(pieces) > 1 and any(not unit for _, unit in pieces)):
        raise UsageError(f"not a duration: {text!r:.80}", hint=DURATION_HINT)
    return check_seconds(sum(float(number) * SECONDS[unit] for number, unit in pieces))


def check_seconds(value: float) -> float:
    """Seconds: finite, above 0, below ten years. Raises UsageError."""
    if not math.isfinite(value) or not 0 < value <= MAX_SECONDS:
        raise UsageError(f"a duration must be above 0 and below ten years, not {value:g} seconds", hint=DURATION_HINT)
    return float(value)


def parse_bytes(text: str) -> int:
    """``10GB`` (10**10), ``500MiB`` (500 * 2**20) or bare bytes. Raises UsageError."""
    found = re.fullmatch(rf"({NUMBER})\s*([a-z]*)", text.strip().lower(), re.ASCII)
    if found is None or found[2] not in BYTES:
        raise UsageError(f"not a number of bytes: {text!r:.80}", hint=BYTES_HINT)
    return check_bytes(float(found[1]) * BYTES[found[2]])


def check_bytes(value: float) -> int:
    """A number of bytes: at least 1. Raises UsageError."""
    if not math.isfinite(value) or not 1 <= value <= MAX_BYTES:
        raise UsageError(f"a number of bytes must be at least 1 and sane, not {value:g}", hint=BYTES_HINT)
    return int(value)


def parse_shard(text: str) -> tuple[int, int]:
    """``2/5`` to ``(2, 5)``: the second of five parts. Raises UsageError."""
    found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
    if found is None:
        raise UsageError(f"not a shard: {text!r:.80}", hint='Write "I/N", I from 1 to N: "2/5".')
    return check_shard((int(found[1]), int(found[2])))


def check_shard(value: tuple[int, int]) -> tuple[int, int]:
    """(I, N) with 1 <= I <= N. Raises UsageError."""
    if not 1 <= value[0] <= value[1] <= MAX_SHARDS:
        raise UsageError(f"there is no shard {value[0]}/{value[1]}", hint='Write "I/N", I from 1 to N: "2/5".')
    return value


def parse_header(text: str) -> tuple[str, str]:
    """``Name: value`` to its two halves. The value may be a secret: no message shows it. Raises UsageError."""
    name, colon, value = text.partition(":")
    if not colon:
        raise UsageError("a header without a colon", hint='Write "Name: value".')
    return check_header(name.strip(" \t"), value.strip(" \t"))


def check_header(name: str, value: str) -> tuple[str, str]:
    """A header's name (RFC 9110 token) and value (visible characters, spaces, tabs). Raises UsageError."""
    if re.fullmatch(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}", name) is None:
        raise UsageError(f"not a header name: {name!r:.80}", hint='Write "Name: value".')
    if re.fullmatch(r"[\t\x20-\x7e\x80-\xff]{0,16384}", value) is None:
        raise UsageError(
            f"the header {name} has a value that HTTP cannot carry (line breaks, control characters ...)",
            hint="Write it on one line, in plain characters.",
        )
    if name.lower() in FRAMING_HEADERS:
        raise UsageError(f"the header {name} is set by the program itself", hint="Leave it out.")
    return name, value


def _parts(text: str, hint: str) -> list[str]:
    parts = [part.strip() for part in re.split(r"[,;]", text)]
    if parts and not parts[-1]:
        parts.pop()
    if not parts or not all(parts):
        raise UsageError(f"something is missing in {text!r:.80}", hint=hint)
    if len(parts) > MAX_ITEMS:
        raise UsageError(f"{len(parts)} entries, more than {MAX_ITEMS}", hint=hint)
    return parts


def _float(text: str, what: str, hint: str) -> float:
    if re.fullmatch(rf"\s*[+-]?(?:{NUMBER})\s*", text, re.ASCII) is None:
        raise UsageError(f"not {what}: {text!r:.80}", hint=hint)
    return float(text)


def _swapped(shown: str) -> str:
    west, south, east, north = shown.split(",")
    low, high = sorted((west, east), key=float)
    return f"{south},{low},{north},{high}"
