"""JPEG (ITU-T T.81, annex B): segments up to the frame header, then the scans up to EOI."""

from __future__ import annotations

import re
from typing import Final

from harvester.payload.ends import Found, Unwhole

SIGNATURE: Final = b"\xff\xd8\xff"

_SOI, _EOI, _SOS, _DNL, _TEM = 0xD8, 0xD9, 0xDA, 0xDC, 0x01
_END: Final = b"\xff\xd9"
_RESTARTS: Final = range(0xD0, 0xD8)

_FRAMES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0..SOF15; C4, C8 and CC are DHT, JPG and DAC (table B.1)."""

_ONE_SCAN_FRAMES: Final = (0xC0, 0xC1)
"""Sequential Huffman frames: one scan of all components holds the whole image."""

_NEXT_MARKER: Final = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Ends entropy-coded data: there FF is always followed by 00 (stuffing) or a restart marker (B.1.1.5)."""


def walk_jpeg(body: bytes) -> Found:
    """Follow the segments to EOI. Segments are stepped over by their lengths: no embedded thumbnail is read."""
    size = len(body)
    at = 2
    width = height = components = frame = 0
    scans = False
    while True:
        # A marker is FF, any number of fill bytes FF, and its code (B.1.1.2).
        if at + 2 > size:
            raise Unwhole("truncated")
        if body[at] != 0xFF:
            raise Unwhole("corrupt")
        code = body[at + 1]
        if code == 0xFF:
            at += 1
            continue
        if code == _EOI:
            if not scans:
                raise Unwhole("corrupt")
            return width, height, at + 2
        if code == _TEM or code in _RESTARTS:
            at += 2
            continue
        if code in (0x00, _SOI):
            raise Unwhole("corrupt")
        if at + 4 > size:
            raise Unwhole("truncated")
        length = body[at + 2] << 8 | body[at + 3]
        end = at + 2 + length
        if length < 2:
            raise Unwhole("corrupt")
        if end > size:
            raise Unwhole("truncated")
        if code in _FRAMES:
            if length < 8 or frame:
                raise Unwhole("corrupt")
            frame = code
            height = body[at + 5] << 8 | body[at + 6]
            width = body[at + 7] << 8 | body[at + 8]
            components = body[at + 9]
        elif code == _DNL and height == 0 and length == 4:
            height = body[at + 4] << 8 | body[at + 5]
        elif code == _SOS:
            if not frame or length < 3:
                raise Unwhole("corrupt")
            # The common tile is one scan up to the body's end; entropy-coded data can't hold an EOI, so none is sought.
            if (
                frame in _ONE_SCAN_FRAMES
                and not scans
                and body[at + 4] == components
                and size - end > len(_END)
                and body.endswith(_END)
            ):
                return width, height, size
            scans = True
            marker = _NEXT_MARKER.search(body, end)
            if marker is None:
                raise Unwhole("truncated")
            end = marker.start()
        at = end
