"""The one room that knows the operating system: durable file operations, the lock of a run, safe names, shares."""

from harvester.durable.bulk import BULK_BYTES, Bulk
from harvester.durable.calls import Buffer
from harvester.durable.disk import REPLACE_PATIENCE_SECONDS, Disk
from harvester.durable.locking import Lock, lock
from harvester.durable.names import MAX_NAME_BYTES, safe_name, unique_names
from harvester.durable.shares import is_network_share
from harvester.durable.trouble import disk_error, disk_full

__all__ = [
    "BULK_BYTES", "MAX_NAME_BYTES", "REPLACE_PATIENCE_SECONDS", "Buffer", "Bulk", "Disk", "Lock", "disk_error",
    "disk_full", "is_network_share", "lock", "safe_name", "unique_names",
]  # fmt: skip
