"""Where tiles live: one file a format, all behind one contract."""
