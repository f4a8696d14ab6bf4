"""What the help promises: every option of the interface, no option beside it, one manner, and each of them works."""

from __future__ import annotations

import json
import re
import shlex
import shutil

import pytest

from harvester.cli.main import VERBS

COMMON = {"--json", "--quiet", "--debug", "--log-file", "--version", "--help"}

SOURCE = {
    "--header", "--token-env", "--username", "--password-env", "--ca-bundle", "--proxy", "--allow-host", "--contact",
    "--timeout",
}  # fmt: skip

SELECTING = {
    "--aoi", "--aoi-layer", "--aoi-where", "--bbox", "--buffer", "--lods", "--levels", "--scales", "--min-scale",
    "--max-scale", "--min-zoom", "--max-zoom", "--minzoom", "--maxzoom", "--no-extent", "--shard",
}  # fmt: skip

LIMITS = {
    "--concurrency", "--rate", "--retries", "--give-up-after", "--max-tiles", "--max-duration", "--max-bytes",
    "--tilemap", "--placeholder",
}  # fmt: skip

OUTPUT = {"--output", "--format", "--mode", "--dedup", "--hash", "--report"}

ARCPY = {
    "--export-cache-type", "--copy-data-from-server", "--storage-format-type", "--scales", "--overwrite",
    "--num-of-caching-service-instances", "--area-of-interest", "--export-extent", "--ready-to-serve-format",
}  # fmt: skip

PROMISED: dict[str, set[str]] = {
    "scales": SOURCE,
    "plan": SOURCE | SELECTING | LIMITS | OUTPUT | {"--sample"},
    "run": SOURCE | SELECTING | LIMITS | OUTPUT | {"--progress", "--dry-run"},
    "verify": {"--deep"},
    "holes": {"--to"},
    "why": set(),
    "report": {"--run", "--list", "--html"},
    "info": set(),
    "tile": SOURCE | {"--output"},
    "convert": {"--format", "--mode", "--dedup", "--hash"} | SELECTING - {"--no-extent", "--shard"},
    "merge": {"--output", "--format", "--mode", "--dedup", "--hash"},
    "diff": {"--output", "--format"},
    "apply": set(),
    "export": SOURCE | LIMITS | ARCPY | {"--report", "--progress"},
    "demo": {"--output"},
}
"""Options of each verb beside the common ones: those of the interface, and no other."""

SHORT = {"--output": "-o", "--to": "-o", "--quiet": "-q", "--help": "-h", "--dry-run": "-n", "--version": "-V"}


def options_of(text: str) -> tuple[set[str], str]:
    """Long options that a help lists, and their lines."""
    _, _, listed = text.partition("Options:\n")
    listed, _, _ = listed.partition("Example:")
    heads = "\n".join(line.split("   ")[0] for line in listed.splitlines() if line.lstrip().startswith("-"))
    return set(re.findall(r"--[a-z][a-z-]+", heads)), heads


def test_the_promise_speaks_of_every_verb():
    assert PROMISED.keys() == VERBS.keys()


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_lists_what_is_promised_and_nothing_else(cli, verb):
    shown, heads = options_of(cli(verb, "--help").out)
    assert shown == PROMISED[verb] | COMMON
    for long, short in SHORT.items():
        if long in shown:
            assert re.search(rf"{short}, .*{long}\b", heads), f"{long} has no {short}"


@pytest.mark.parametrize("verb", VERBS)
def test_every_help_has_one_manner(cli, verb):
    text = cli(verb, "--help").out
    assert text.startswith(f"Usage: harvester {verb} [OPTIONS]")
    purpose = text.split("\n\n")[1]
    assert purpose.strip()[0].isupper() and purpose.strip().endswith(".")
    _, listed = text.split("Options:\n")
    listed, example = listed.split("\n  Example:\n")
    texts = re.split(r"\n(?=  -)", listed.rstrip("\n"))
    assert len(texts) >= len(COMMON)
    for option in texts:
        words = " ".join(option.split("  ", 2)[-1].split())
        assert re.search(r"[.\]\"')]$", words), words
    assert all(len(line) <= 120 for line in text.splitlines())
    commands = re.sub(r" \\\n\s+", " ", example).strip().splitlines()
    assert any(line.strip().startswith(f"harvester {verb} ") for line in commands)


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_in_an_example_is_one_of_its_verb(cli, verb):
    example = re.sub(r" \\\n\s+", " ", cli(verb, "--help").out.split("Example:\n")[1])
    for line in example.strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "harvester"
        for word in words[2:]:
            if word.startswith("--"):
                assert word in PROMISED[words[1]] | COMMON


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tells_the_version(cli, verb):
    from harvester.version import __version__

    assert cli(verb, "--version").out == f"harvester {__version__}\n"


POLYGON = {"type": "Polygon", "coordinates": [[[0, 0], [20, 0], [20, 20], [0, 20], [0, 0]]]}
AREA = {"type": "Feature", "properties": {"state": "CO"}, "geometry": POLYGON}

VALUES: dict[str, str | None] = {
    "--aoi": "area.geojson", "--aoi-layer": "area", "--aoi-where": "state = 'CO'", "--bbox": "0,0,20,20",
    "--buffer": "1000", "--lods": "0-2", "--levels": "1", "--scales": "591657527.591555;295828763.7957775",
    "--min-scale": "591657527.591555", "--max-scale": "295828763.7957775", "--min-zoom": "1", "--max-zoom": "2",
    "--minzoom": "1", "--maxzoom": "2", "--no-extent": None, "--shard": "1/1", "--concurrency": "4", "--rate": "1000",
    "--retries": "1", "--give-up-after": "10m", "--max-tiles": "100", "--max-duration": "1h", "--max-bytes": "1GB",
    "--tilemap": "off", "--placeholder": "0" * 32, "--output": "out.mbtiles", "--format": "mbtiles", "--mode": "merge",
    "--dedup": None, "--hash": None, "--report": "report.json", "--header": "X-Key: 1", "--token-env": "SOME_TOKEN",
    "--username": "me", "--password-env": "SOME_WORD", "--proxy": "http://127.0.0.1:9", "--allow-host": "example.org",
    "--contact": "me@example.org", "--timeout": "20", "--progress": "none", "--dry-run": None, "--sample": "2",
    "--export-cache-type": "TILE_PACKAGE", "--copy-data-from-server": "COPY_DATA",
    "--storage-format-type": "COMPACT_V2", "--overwrite": "OVERWRITE", "--num-of-caching-service-instances": "2",
    "--area-of-interest": "area.geojson", "--ready-to-serve-format": "NON_READY_TO_SERVE_FORMAT",
    "--export-extent": "0 0 5000000 5000000", "--ca-bundle": "bundle.pem",
}  # fmt: skip
"""A sound value of each option; None: it takes none."""

NEEDS = {
    "--aoi-layer": "--aoi area.geojson", "--aoi-where": "--aoi area.geojson", "--buffer": "--bbox 0,0,20,20",
    "--storage-format-type": "--export-cache-type TILE_PACKAGE", "--min-scale": "--max-scale 295828763.7957775",
    "--min-zoom": "--max-zoom 2", "--minzoom": "--maxzoom 2",
    "--export-cache-type": "--storage-format-type COMPACT_V2",
}  # fmt: skip
"""What an option needs beside it."""

CHOOSING = {
    "--lods", "--levels", "--scales", "--min-scale", "--max-scale", "--min-zoom", "--max-zoom", "--minzoom",
    "--maxzoom",
}  # fmt: skip
"""Options that choose LODs; beside all others a few are chosen, so that the runs stay small."""

FEW = {"plan": "--lods 0-1", "run": "--lods 0-1", "export": "--scales 591657527.591555"}

TARGETS = {"plan": "", "run": "-o out.mbtiles", "scales": "", "tile": "0/0/0", "export": "packages"}

LEFT_OUT = {"--proxy", "--ca-bundle", "--username", "--password-env"}
"""Options that need a proxy, a certificate or a login; tests/e2e/test_access.py has them."""


@pytest.mark.parametrize("verb", TARGETS)
def test_every_option_of_a_verb_that_asks_a_service_works(cli, serve, tmp_path, monkeypatch, verb):
    monkeypatch.setenv("SOME_TOKEN", "abcdef123456")
    (tmp_path / "area.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [AREA]}))
    url = serve().url
    for option in sorted(PROMISED[verb] - LEFT_OUT):
        value = VALUES[option]
        words = [*TARGETS[verb].split(), *NEEDS.get(option, "").split()]
        if option not in CHOOSING and verb in FEW:
            words += FEW[verb].split()
        words += [option] if value is None else [option, value]
        result = cli(verb, url, *words, "-q", "--json")
        assert result.code == 0, f"{option}: {result.err}"
        assert isinstance(result.json, dict)
        if verb in ("run", "export"):
            for path in set(tmp_path.iterdir()) - {tmp_path / "area.geojson"}:
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_everything_shown_for_a_cache_works(cli, serve, tmp_path):
    assert cli("run", serve().url, "-o", "a.mbtiles", "--lods", "0-2", "-q").code == 0
    commands = [
        "verify a.mbtiles", "verify a.mbtiles --deep", "holes a.mbtiles --to h.geojson", "holes a.mbtiles -o h.geojson",
        "why a.mbtiles 1/0/0", "report a.mbtiles", "report a.mbtiles --run 1", "report a.mbtiles --list",
        "report a.mbtiles --html r.html", "info a.mbtiles", "convert a.mbtiles b.tpkx",
        "convert a.mbtiles c --format gpkg",
        "convert a.mbtiles d.mbtiles --dedup", "convert a.mbtiles e.mbtiles --hash",
        "convert a.mbtiles d.mbtiles --mode overwrite", "merge a.mbtiles b.tpkx -o f.mbtiles",
        "merge a.mbtiles --output f.mbtiles --mode overwrite --dedup --hash", "merge a.mbtiles -o g --format xyz",
        "diff a.mbtiles b.tpkx -o i.mbtiles", "diff a.mbtiles b.tpkx --output j --format compactv2",
        "apply i.mbtiles b.tpkx", "tile a.mbtiles 1/0/0 -o t.png",
    ]  # fmt: skip
    for line in commands:
        result = cli(*line.split(), "--json", "--log-file", "log.txt")
        assert result.code == 0, f"{line}: {result.err}"
        assert isinstance(result.json, dict), line
