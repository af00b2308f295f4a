"""What stands in the database, read from its own catalogue, and the two documents made of it.

Belongs here: reading relations, columns, keys and comments of our schemas, and writing them as an ER diagram (Mermaid)
and a data dictionary (Markdown). Does not belong here: making a database to read (`azak db docs`), nor the words
themselves: they are the comments of `tables` and of the dbt models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg

SCHEMAS = ("raw", "text", "ml", "staging", "marts", "ops")
"""In the order in which data flows; `ops` keeps the books and is no part of that."""
OF_OTHERS = frozenset({"ops.alembic_version"})
HISTORY, AS_OF = "_history", "_as_of"
ADDED_BY_HISTORY = "superseded_at"
SHORT_TYPES = {"timestamp with time zone": "timestamptz", "double precision": "float8"}


@dataclass(frozen=True)
class Column:
    """One column: its type as PostgreSQL writes it, whether it may be NULL, its comment."""

    name: str
    type: str
    is_nullable: bool
    comment: str


@dataclass(frozen=True)
class Relation:
    """One table or view with its columns, its primary key and its checks."""

    schema: str
    name: str
    is_view: bool
    comment: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    checks: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """`schema.name`."""
        return f"{self.schema}.{self.name}"

    @property
    def column_names(self) -> frozenset[str]:
        """The names of its columns."""
        return frozenset(column.name for column in self.columns)


@dataclass(frozen=True)
class Catalogue:
    """Everything in our schemas: their comments, relations by full name in order, and the functions that read as of."""

    schemas: dict[str, str]
    relations: dict[str, Relation]
    functions: frozenset[str]

    def of(self, schema: str) -> list[Relation]:
        """The relations of one schema, but for histories that a line beside their table tells whole."""
        return [one for one in self.relations.values() if one.schema == schema and not self.is_plain_history(one)]

    def is_plain_history(self, relation: Relation) -> bool:
        """Whether it is a table's history with that table's columns and the end of each version, and nothing else."""
        table = self.relations.get(relation.full_name.removesuffix(HISTORY))
        return (
            relation.name.endswith(HISTORY)
            and table is not None
            and relation.column_names == table.column_names | {ADDED_BY_HISTORY}
        )


@dataclass(frozen=True)
class Reference:
    """A relation holds the key of another: `columns`, which are that one's primary key."""

    owner: str
    holder: str
    columns: tuple[str, ...]


RELATIONS = """
select n.nspname, c.relname, c.relkind = 'v', coalesce(obj_description(c.oid, 'pg_class'), ''),
       array(select a.attname from pg_constraint k, unnest(k.conkey) with ordinality as u (attnum, place)
             join pg_attribute a on a.attnum = u.attnum
             where k.conrelid = c.oid and k.contype = 'p' and a.attrelid = c.oid order by u.place)::text[],
       array(select pg_get_constraintdef(k.oid) from pg_constraint k
             where k.conrelid = c.oid and k.contype = 'c' order by k.conname)::text[]
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s) and c.relkind in ('r', 'p', 'v', 'm') and not c.relispartition
order by array_position(%(schemas)s::text[], n.nspname::text), c.relname
"""
COLUMNS = """
select n.nspname || '.' || c.relname, a.attname, format_type(a.atttypid, a.atttypmod), not a.attnotnull,
       coalesce(col_description(c.oid, a.attnum), '')
from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
where n.nspname = any (%(schemas)s) and a.attnum > 0 and not a.attisdropped
order by c.oid, a.attnum
"""
NAMESPACES = (
    "select nspname, coalesce(obj_description(oid, 'pg_namespace'), '') from pg_namespace where nspname = any (%s)"
)
FUNCTIONS = """
select n.nspname || '.' || p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname = any (%s)
"""


def read(connection: psycopg.Connection) -> Catalogue:
    """Read our schemas; a database without marts has fewer relations, not an error."""
    schemas = list(SCHEMAS)
    comments: dict[str, str] = dict(connection.execute(NAMESPACES, [schemas]).fetchall())
    columns: dict[str, list[Column]] = {}
    for relation, *column in connection.execute(COLUMNS, {"schemas": schemas}):
        columns.setdefault(relation, []).append(Column(*column))
    relations = {}
    for schema, name, is_view, comment, key, checks in connection.execute(RELATIONS, {"schemas": schemas}):
        full_name = f"{schema}.{name}"
        if full_name not in OF_OTHERS:
            words = tuple(check.removeprefix("CHECK ") for check in checks)
            described = tuple(columns.get(full_name, ()))
            relations[full_name] = Relation(schema, name, is_view, comment.strip(), described, tuple(key), words)
    functions = frozenset(name for (name,) in connection.execute(FUNCTIONS, [schemas]))
    return Catalogue({schema: comments.get(schema, "") for schema in schemas}, relations, functions)


def references(catalogue: Catalogue) -> list[Reference]:
    """Who holds whose key. Azak's keys are natural and have one name everywhere, so a name is enough.

    There are no foreign keys to read: sources answer in any order, and a bar may be there before its stock. A key of
    several columns counts where it is the beginning of the holder's own; one inside a larger one that counts does not.
    """
    ours = [one for schema in SCHEMAS if schema != "ops" for one in catalogue.of(schema)]
    owners: dict[tuple[str, ...], Relation] = {}
    # The table named after its key (stocks, stock_code), else the first one in the order of the flow that has it.
    for relation in sorted(ours, key=_is_not_named_after_its_key):
        if relation.key:
            owners.setdefault(relation.key, relation)
    found = []
    for holder in ours:
        held = [
            key
            for key, owner in owners.items()
            if owner is not holder
            and SCHEMAS.index(owner.schema) <= SCHEMAS.index(holder.schema)
            and set(key) <= holder.column_names
            and (len(key) == 1 or holder.key[: len(key)] == key)
        ]
        largest = [key for key in held if not any(set(key) < set(other) for other in held)]
        found += [Reference(owners[key].full_name, holder.full_name, key) for key in largest]
    return found


def _is_not_named_after_its_key(relation: Relation) -> bool:
    return len(relation.key) != 1 or not relation.key[0].startswith(f"{relation.name.removesuffix('s')}_")


NOTICE = "<!-- Made from the live catalogue by `make docs`: do not edit, correct the comments instead. -->"


def erd(catalogue: Catalogue) -> str:
    """The ER diagram in Mermaid, which GitHub shows as a picture: keys and what hangs on them."""
    links = references(catalogue)
    lines = [
        "# Entity-relationship diagram",
        "",
        NOTICE,
        "",
        "Only keys stand here; `docs/dictionary.md` has every column. A line means that one table holds the other's",
        "key, which has the same name in both. PostgreSQL enforces none of them: sources answer in any order, and a",
        "bar may be there before its stock. Histories (`<table>_history`) repeat their table's key and are left out.",
        "",
    ]
    for title, schemas in (
        ("What the sources said, and what was made of it", ("raw", "text", "ml")),
        ("What analysts read", ("raw", "ml", "marts")),
    ):
        drawn = {one.full_name for schema in schemas for one in catalogue.of(schema)}
        own = [link for link in links if link.owner in drawn and link.holder in drawn]
        if "marts" in schemas:
            own = [link for link in own if link.holder.startswith("marts.")]
            drawn = {name for link in own for name in (link.owner, link.holder)}
            drawn |= {one.full_name for one in catalogue.of("marts")}
        lines += [f"## {title}", "", "```mermaid", "erDiagram"]
        for name, relation in catalogue.relations.items():
            if name in drawn:
                lines += _entity(relation, [link for link in own if link.holder == name])
        lines += [_line(catalogue, link) for link in own]
        lines += ["```", ""]
    return "\n".join(lines)


def _entity(relation: Relation, held: Sequence[Reference]) -> Iterator[str]:
    foreign = {column for link in held for column in link.columns}
    yield f'    {_id(relation.full_name)}["{relation.full_name}"] {{'
    for column in relation.columns:
        marks = [mark for mark, names in (("PK", relation.key), ("FK", foreign)) if column.name in names]
        if marks:
            yield f"        {SHORT_TYPES.get(column.type, column.type)} {column.name} {', '.join(marks)}"
    yield "    }"


def _line(catalogue: Catalogue, link: Reference) -> str:
    holder = catalogue.relations[link.holder]
    optional = any(column.is_nullable for column in holder.columns if column.name in link.columns)
    left = "|o" if optional else "||"
    right = "o|" if holder.key == link.columns else "o{"
    return f'    {_id(link.owner)} {left}--{right} {_id(link.holder)} : "{", ".join(link.columns)}"'


def _id(full_name: str) -> str:
    return full_name.replace(".", "_")


def dictionary(catalogue: Catalogue) -> str:
    """Every schema, relation and column with type, key and meaning, in Markdown."""
    lines = [
        "# Data dictionary",
        "",
        NOTICE,
        "",
        "What PostgreSQL itself says of each table: the same words stand in psql (`\\d+ marts.matches`) and in every",
        "BI tool. Units and zones stand in the name or in the meaning; a `*_at` is an instant, a `*_day` or",
        "`trade_date` a KST date. What holds whose key is drawn in `docs/erd.md`.",
        "",
    ]
    owners: dict[tuple[str, str], str] = {}
    for link in references(catalogue):
        owners |= {(link.holder, column): link.owner for column in link.columns}
    for schema, comment in catalogue.schemas.items():
        if relations := catalogue.of(schema):
            lines += [f"## Schema `{schema}`", "", _sentence(comment), ""]
            for relation in relations:
                lines += _described(catalogue, relation, owners)
    return "\n".join(lines)


def _described(catalogue: Catalogue, relation: Relation, owners: dict[tuple[str, str], str]) -> Iterator[str]:
    name = relation.full_name
    yield f"### `{name}`"
    yield ""
    yield _sentence(relation.comment)
    yield ""
    if relation.is_view:
        yield "- view"
    if relation.key:
        yield f"- key: {', '.join(f'`{column}`' for column in relation.key)}"
    for check in relation.checks:
        yield f"- always: `{check}`"
    if f"{name}{HISTORY}" in catalogue.relations and catalogue.is_plain_history(
        catalogue.relations[f"{name}{HISTORY}"]
    ):
        yield f"- replaced and retired versions: `{name}{HISTORY}`, the same columns and `{ADDED_BY_HISTORY}`"
    if f"{name}{AS_OF}" in catalogue.functions:
        yield f"- as of an instant: `{name}{AS_OF}(t, clock)`"
    yield ""
    yield "| column | type | | meaning |"
    yield "|---|---|---|---|"
    for column in relation.columns:
        marks = ["key"] if column.name in relation.key else ["may be NULL"] if column.is_nullable else []
        if owner := owners.get((name, column.name)):
            marks.append(f"→ `{owner}`")
        meaning = _sentence(column.comment).replace("|", "\\|")
        yield f"| `{column.name}` | {SHORT_TYPES.get(column.type, column.type)} | {' '.join(marks)} | {meaning} |"
    yield ""


def _sentence(comment: str) -> str:
    """A comment in one line."""
    return " ".join(comment.split())
