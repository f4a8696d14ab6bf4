"""A picture of what a cache covers: which LODs are there where, and where the holes are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harvester.errors import CacheError
from harvester.tiling.scheme import Box, TilingScheme
from harvester.tiling.tile import BlockKey

if TYPE_CHECKING:
    from PIL import Image

    from harvester.edges import States

Blocks = Callable[[], "Iterable[tuple[BlockKey, States]]"]
"""Gives the blocks of a cache with the states of their tiles, from the start each time it is called."""

Backdrop = Callable[[Box, int, int], "Image.Image"]
"""Draws what lies in a box (map units) as an RGB image of this width and height, to be seen behind the tiles."""


def draw_coverage(
    scheme: TilingScheme,
    blocks: Blocks,
    path: Path,
    *,
    title: str,
    outlines: Sequence[Any] = (),
    backdrop: Backdrop | None = None,
    attribution: str = "",
) -> None:
    """Write a PNG: a map coloured by the finest LOD that is there, one small map per LOD, and a table with its legend.

    ``outlines`` are shapely geometries in the scheme's CRS (the job's areas). Failed and pending tiles are drawn over
    everything, and ringed where they would be too small to be seen; tiles smaller than a pixel are shown as densities.
    Memory does not grow with the cache: ``blocks`` is read twice. Raises CacheError when the file can't be written.
    """
    from harvester.coverage_picture.picture import compose

    image = compose(scheme, blocks, title=title, outlines=outlines, backdrop=backdrop, attribution=attribution)
    try:
        image.save(path, "PNG", optimize=True)
    except OSError as fault:
        raise CacheError(
            f"can't write {path}: {fault.strerror or fault}", hint="Choose a folder that can be written."
        ) from fault
