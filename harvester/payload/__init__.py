"""Is this a whole tile? Pure judgement of bytes: signature, pixel size (the scheme's), and the format's own end."""

from harvester.payload.decode import decode_check
from harvester.payload.judge import MAX_STRAY, drifted, judge, looks_like_html, looks_like_json
from harvester.payload.pbf import MAX_DECODED

__all__ = [
    "MAX_DECODED",
    "MAX_STRAY",
    "decode_check",
    "drifted",
    "judge",
    "looks_like_html",
    "looks_like_json",
]
