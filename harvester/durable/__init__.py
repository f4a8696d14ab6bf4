"""The one room that knows the operating system: durable file operations, the lock of a run, safe names, shares."""

from harvester.durable.bulk import BULK_BYTES, Bulk
from harvester.durable.calls import Buffer, file_size_limit
from harvester.durable.copies import set_apart
from harvester.durable.disk import REPLACE_PATIENCE_SECONDS, Disk
from harvester.durable.locking import Lock, lock
from harvester.durable.names import MAX_NAME_BYTES, safe_name, unique_names
from harvester.durable.shares import is_network_share
from harvester.durable.targets import FILE, FOLDER, PIPE, behind_links, kept_open, kind_of, open_there
from harvester.durable.trouble import BEGINS_AGAIN, GOES_ON, disk_error, disk_full, too_large

__all__ = [
    "BEGINS_AGAIN", "BULK_BYTES", "FILE", "FOLDER", "GOES_ON", "MAX_NAME_BYTES", "PIPE", "REPLACE_PATIENCE_SECONDS",
    "Buffer", "Bulk", "Disk", "Lock", "behind_links", "disk_error", "disk_full", "file_size_limit", "is_network_share",
    "kept_open", "kind_of", "lock", "open_there", "safe_name", "set_apart", "too_large", "unique_names",
]  # fmt: skip
