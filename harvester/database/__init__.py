"""SQLite as the project uses it: readers that change nothing, one writer of whole transactions, errors with remedy."""

from harvester.database.beside import foreign_beside, remove_journal
from harvester.database.header import Header, is_unborn, read_header
from harvester.database.reading import OpenedDatabase, is_written_here, open_beside_writer, open_read_only
from harvester.database.trouble import REFUSED, damaged, sqlite_errors
from harvester.database.writing import PAGE_SIZE, Database, page_size_for

__all__ = [
    "PAGE_SIZE", "REFUSED", "Database", "Header", "OpenedDatabase", "damaged", "foreign_beside", "is_unborn",
    "is_written_here", "open_beside_writer", "open_read_only", "page_size_for", "read_header", "remove_journal",
    "sqlite_errors",
]  # fmt: skip
