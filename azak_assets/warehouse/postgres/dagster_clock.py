"""Dagster's database writes its times in UTC, as Dagster reads them, whatever zone the server is set to.

Belongs here: the zone of that database, and the rows written before it had one. Does not belong here: Azak's own
tables, whose instants carry their zone, and the making of the database (`database`).
"""

import psycopg
from psycopg import sql

from azak_assets.warehouse.postgres.address import DatabaseError

IN_UTC_ALREADY = (
    ("event_logs", "timestamp"),
    ("asset_event_tags", "event_timestamp"),
    ("asset_check_executions", "evaluation_event_timestamp"),
    ("secondary_indexes", "migration_completed"),
)
"""Columns that Dagster fills with an instant it has turned to UTC itself; found by comparing rows of an old home."""

_NAIVE = """
select table_schema, table_name, column_name from information_schema.columns
    join information_schema.tables using (table_schema, table_name)
where data_type = 'timestamp without time zone' and table_schema = current_schema() and table_type = 'BASE TABLE'
order by 1, 2, 3
"""


_IS_SET = """
select 1 from pg_db_role_setting join pg_database on setdatabase = pg_database.oid
where datname = %s and setrole = 0 and 'TimeZone=UTC' = any(setconfig)
"""


def write_in_utc(connection: psycopg.Connection) -> int:
    """Set the zone of the connection's database to UTC and move the rows that were written in another zone.

    Dagster's columns hold no zone: the server fills them with its wall clock and Dagster reads that as UTC. On a server
    in Seoul every run, tick and check so stood nine hours ahead in the UI. Once the zone is UTC nothing is done.

    Args:
        connection: to Dagster's database, as its owner, in autocommit.

    Returns:
        How many columns were moved.

    Raises:
        DatabaseError: the role does not own the database; with the statement for its owner.
    """
    row = connection.execute("select current_setting('TimeZone'), current_database()").fetchone()
    zone, database = row or ("", "")
    if zone == "UTC":
        return 0
    with connection.transaction():
        # Two first starts at once must not move the rows twice.
        connection.execute("select pg_advisory_xact_lock(hashtextextended('azak.dagster_clock', 0))")
        setting = (
            "select 1 from pg_db_role_setting join pg_database on setdatabase = pg_database.oid where datname = %s"
        )
        if connection.execute(f"{setting} and 'TimeZone=UTC' = any(setconfig)", [database]).fetchone():
            return 0
        columns = [
            (schema, table, column)
            for schema, table, column in connection.execute(_NAIVE)
            if (table, column) not in IN_UTC_ALREADY
        ]
        for schema, table, column in columns:
            move = "update {} set {column} = {column} at time zone {zone} at time zone 'UTC' where {column} is not null"
            connection.execute(
                sql.SQL(move).format(
                    sql.Identifier(schema, table), column=sql.Identifier(column), zone=sql.Literal(zone)
                )
            )
        try:
            connection.execute(sql.SQL("alter database {} set timezone to 'UTC'").format(sql.Identifier(database)))
        except psycopg.errors.InsufficientPrivilege as error:
            msg = (
                f"Dagster's database {database} must keep its times in UTC, and the role {connection.info.user} does "
                f"not own it: let its owner run `alter database \"{database}\" set timezone to 'UTC'`."
            )
            raise DatabaseError(msg) from error
    return len(columns)
