"""Dagster's tags that name the partitions of a run.

Belongs here: the names of the tags; resources, definitions and commands read and write them. Does not belong here:
Dagster itself, so that a command can name a partition without loading it.
"""

PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
BACKFILL = "dagster/backfill"
