"""The demo's job: Europe zoomed out, the Nordic countries zoomed in, as job files to read and to run again."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path

SERVICE = "World"
"""The name under which the embedded service serves ``WorldMap.mercator()``."""

OUTPUTS = ("nordic.mbtiles", "nordic.tpkx")

AREAS = ("europe.geojson", "nordic-countries.geojson")

TEMPLATE = """\
# A job of two policies; its tiles are their union.
#
#   harvester plan {name}      what it would fetch
#   harvester run {name}       fetch it; the same command again fetches what is missing
#
# The source is the embedded tile service of "harvester demo": it answers while the demo runs.
# Put the address of a service of your own here.

source = "{source}"
output = "{output}"

[[policy]]                      # all of Europe, zoomed out
lods = "0-7"
aoi  = "europe.geojson"

[[policy]]                      # the Nordic countries, zoomed in
lods = "6-9"
aoi  = "nordic-countries.geojson"
"""


def demo_job(source_url: str, output: str, name: str = "job.toml") -> str:
    """The text of the demo's job file, for one output (a file name); ``name`` is what the file will be called."""
    return TEMPLATE.format(source=source_url, output=output, name=name)


def write_jobs(folder: Path, source_url: str, outputs: Sequence[str] = OUTPUTS) -> tuple[Path, ...]:
    """Write one job file per output into a folder, beside the areas that they name; gives their paths, in order.

    A job file is named after its output: ``nordic.tpkx`` is made by ``nordic-tpkx.toml``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for area in AREAS:
        (folder / area).write_bytes(area_bytes(area))
    jobs = []
    for output in outputs:
        path = folder / f"{output.replace('.', '-')}.toml"
        path.write_text(demo_job(source_url, output, path.name), encoding="utf-8")
        jobs.append(path)
    return tuple(jobs)


def area_bytes(name: str) -> bytes:
    """One of the demo's areas of interest, as GeoJSON."""
    return resources.files("harvester.demo").joinpath("data", name).read_bytes()
