"""ArcGIS REST over anything that reads like a cache."""
