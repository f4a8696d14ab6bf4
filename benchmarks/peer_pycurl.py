"""Fetch a block of tiles by pycurl's multi interface and throw them away; prints its cost as JSON.

Run by the Python of ``.venv-peers``: it imports nothing of the project.
``python benchmarks/peer_pycurl.py URL LEVEL ROW COL SIDE BYTES CONNECTIONS``
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any


def main(url: str, level: int, row: int, col: int, side: int, size: int, connections: int) -> None:
    import pycurl  # type: ignore[import-untyped, unused-ignore]

    addresses = (f"{url}/tile/{level}/{y}/{x}" for y in range(row, row + side) for x in range(col, col + side))
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_MAXCONNECTS, connections)
    good = [0]

    def begin(handle: Any) -> bool:
        address = next(addresses, None)
        if address is None:
            return False
        body = bytearray()
        handle.body = body
        handle.setopt(pycurl.URL, address)
        handle.setopt(pycurl.WRITEFUNCTION, body.extend)
        multi.add_handle(handle)
        return True

    wall, cpu = time.perf_counter(), time.process_time()
    running = 0
    handles = [pycurl.Curl() for _ in range(connections)]
    for handle in handles:
        handle.setopt(pycurl.NOSIGNAL, 1)
        running += begin(handle)
    while running:
        multi.perform()
        while True:
            left, done, failed = multi.info_read()
            for handle in done:
                good[0] += len(handle.body) == size and handle.getinfo(pycurl.RESPONSE_CODE) == 200
                multi.remove_handle(handle)
                running -= not begin(handle)
            running -= len(failed)
            if not left:
                break
        if running:
            multi.select(1.0)
    spent = {"cpu_seconds": time.process_time() - cpu, "wall_seconds": time.perf_counter() - wall}
    if good[0] != side * side:
        sys.exit(f"{good[0]} of {side * side} tiles came whole")
    print(json.dumps(spent))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
