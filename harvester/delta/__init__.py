"""Caches made of caches: convert, merge, diff and apply, streaming from any reader to any writer."""
