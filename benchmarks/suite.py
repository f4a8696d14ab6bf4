"""Every group of measurements, in the order in which they are taken."""

from __future__ import annotations

from benchmarks.groups_disk import compact, compact_v1, folders, geopackage, ledger, manifest, mbtiles, package, pmtiles
from benchmarks.groups_network import (
    end_to_end,
    end_to_end_1kb,
    latency,
    latency_run,
    memory,
    transport,
    transport_pieces,
    transport_tls,
)
from benchmarks.groups_processes import startup, streaming
from benchmarks.groups_work import coverage, demo_map, engine, pacing, payload, source
from benchmarks.measure import Group

GROUPS: tuple[Group, ...] = (
    coverage,
    payload,
    source,
    pacing,
    engine,
    mbtiles,
    compact,
    compact_v1,
    geopackage,
    folders,
    package,
    pmtiles,
    manifest,
    ledger,
    demo_map,
    transport,
    transport_pieces,
    transport_tls,
    latency,
    end_to_end,
    end_to_end_1kb,
    latency_run,
    startup,
    memory,
    streaming,
)
