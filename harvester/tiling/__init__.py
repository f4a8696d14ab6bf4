"""Pure tile geometry: tiles, tiling schemes, coverage. No I/O, no clock."""
