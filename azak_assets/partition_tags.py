"""Tags of a run: Dagster's that name its partitions, and ours that says what started it.

Belongs here: the names of the tags; resources, definitions and commands read and write them. Does not belong here:
Dagster itself, so that a command can name a partition without loading it.
"""

PARTITION = "dagster/partition"
RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
BACKFILL = "dagster/backfill"
WHY = "azak/why"
"""What started a run by hand: `azak run`, or the first load of a new home."""
