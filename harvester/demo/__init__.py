"""The embedded tile service: a reader that draws the world, and the job that harvests it."""
