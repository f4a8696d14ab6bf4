"""Answers that nobody asked for: a server that sends one too many gives each tile of that connection to the next
request."""

from __future__ import annotations


def is_farewell(data: bytes) -> bool:
    """What a server may say to nobody before it closes a connection: nothing but line ends, no HTTP, 408, or an error
    after which it closes (it says so, or speaks HTTP/1.0)."""
    data = data.lstrip(b"\r\n")
    if not data.startswith(b"HTTP/"):
        return True
    status = data[8:12].strip()
    closes = data.startswith(b"HTTP/1.0") or b"connection: close" in data.lower()
    return status == b"408" or (closes and status[:1] in (b"4", b"5"))
