"""Who may do what in the database: the declaration `roles.toml`, and what it asks of a database."""

import re
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict
from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql

DEFAULT_PREFIX: Final = "feedback_"
PUBLIC: Final = "PUBLIC"

# The last two are what `ALTER DEFAULT PRIVILEGES` sets, for the database and for the schema.
Kind = Literal["DATABASE", "SCHEMA", "TABLE", "SEQUENCE", "ROUTINE", "DEFAULT", "DEFAULT IN SCHEMA"]

_NAMED: Final = ("DATABASE", "SCHEMA", "TABLE", "SEQUENCE", "ROUTINE")
_PRIVILEGE: Final = re.compile(r"(?P<verb>SELECT|INSERT|UPDATE|DELETE)(?: \((?P<columns>\w+(?:, \w+)*)\))?")
_quote: Final = postgresql.dialect().identifier_preparer.quote  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True, order=True)
class Privilege:
    """One right, on the whole of something or on one column of it."""

    verb: str
    column: str | None = None

    def __str__(self) -> str:
        return self.verb if self.column is None else f"{self.verb} ({self.column})"


def _parse(written: str) -> tuple[Privilege, ...]:
    match = _PRIVILEGE.fullmatch(written)
    if match is None:
        raise ValueError(f"{written!r} is no privilege such as SELECT or UPDATE (column, column)")
    if match["columns"] is None:
        return (Privilege(match["verb"]),)
    return tuple(Privilege(match["verb"], column) for column in match["columns"].split(", "))


def _check(written: list[str]) -> list[str]:
    for each in written:
        _parse(each)
    return written


class RoleSpec(BaseModel):
    """What one role may do. `tables` are tables and views, with their privileges as SQL writes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    description: str
    temporary_tables: bool = False
    tables: dict[str, Annotated[list[str], AfterValidator(_check)]]

    def privileges(self, table: str) -> frozenset[Privilege]:
        """On one table or view, columns one by one."""
        return frozenset(privilege for written in self.tables[table] for privilege in _parse(written))


class RolesFile(BaseModel):
    """`roles.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nobody: list[str]
    barriers: list[str]
    roles: dict[str, RoleSpec]

    def relations(self) -> frozenset[str]:
        """Every table and view that it speaks of."""
        return frozenset(self.nobody).union(*(spec.tables for spec in self.roles.values()))


@dataclass(frozen=True, slots=True)
class Target:
    """The database and schema that hold the tables, and the prefix of the roles' names there."""

    database: str
    schema: str = "public"
    prefix: str = DEFAULT_PREFIX


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """Whose rights on what. `name` is without schema and quotes; of defaults it is TABLES, SEQUENCES or ROUTINES."""

    grantee: str
    kind: Kind
    name: str

    def __str__(self) -> str:
        return f"{self.kind.lower()} {self.name}" if self.kind in _NAMED else f"{self.kind} for new {self.name}".lower()


Grants = dict[Subject, frozenset[Privilege]]


def load_roles() -> RolesFile:
    """The roles of `roles.toml`, by name without prefix."""
    return RolesFile.model_validate(tomllib.loads((files("schemas") / "roles.toml").read_text("utf-8")))


def wanted_grants(roles: RolesFile, target: Target) -> Grants:
    """All that the declaration grants; whatever else there is, is too much."""
    grants: Grants = {}
    for name, spec in roles.roles.items():
        role = target.prefix + name
        database = {Privilege("CONNECT")} | ({Privilege("TEMPORARY")} if spec.temporary_tables else set())
        grants[Subject(role, "DATABASE", target.database)] = frozenset(database)
        grants[Subject(role, "SCHEMA", target.schema)] = frozenset({Privilege("USAGE")})
        for table in spec.tables:
            grants[Subject(role, "TABLE", table)] = spec.privileges(table)
    return grants


def quote(name: str) -> str:
    """A name as SQL takes it."""
    quoted: str = _quote(name)
    return quoted


def grant(subject: Subject, privileges: Iterable[Privilege], target: Target) -> str:
    """The statement that grants."""
    return f"GRANT {listed(privileges)} ON {_on(subject, target)} TO {_to(subject)}"


def revoke(subject: Subject, privileges: Iterable[Privilege], target: Target, owner: str | None = None) -> str:
    """The statement that revokes. `owner` is whose default privileges it is about; whoever runs it if None."""
    taken = f"REVOKE {listed(privileges)} ON {_on(subject, target)} FROM {_to(subject)}"
    if subject.kind in _NAMED:
        return taken
    whose = "" if owner is None else f"FOR ROLE {quote(owner)} "
    where = "" if subject.kind == "DEFAULT" else f"IN SCHEMA {quote(target.schema)} "
    return f"ALTER DEFAULT PRIVILEGES {whose}{where}{taken}"


def listed(privileges: Iterable[Privilege]) -> str:
    """Privileges as SQL lists them, those that read before those that write, columns of one verb together."""
    written: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for privilege in sorted(privileges, key=lambda each: (each.verb != "SELECT", each.verb != "INSERT", str(each))):
        columns = written[privilege.verb, privilege.column is None]
        columns += [] if privilege.column is None else [quote(privilege.column)]
    return ", ".join(f"{verb} ({', '.join(columns)})" if columns else verb for (verb, _), columns in written.items())


def _on(subject: Subject, target: Target) -> str:
    match subject.kind:
        case "DATABASE" | "SCHEMA":
            return f"{subject.kind} {quote(subject.name)}"
        case "TABLE" | "SEQUENCE":
            return f"{subject.kind} {quote(target.schema)}.{quote(subject.name)}"
        case "ROUTINE":
            return f"ROUTINE {subject.name}"
        case "DEFAULT" | "DEFAULT IN SCHEMA":
            return subject.name


def _to(subject: Subject) -> str:
    return PUBLIC if subject.grantee == PUBLIC else quote(subject.grantee)


def owners_grants(owner: str, target: Target) -> Grants:
    """What the owner of the tables needs where database and schema are not its own as well."""
    return {
        Subject(owner, "DATABASE", target.database): frozenset({Privilege("CONNECT")}),
        Subject(owner, "SCHEMA", target.schema): frozenset({Privilege("CREATE"), Privilege("USAGE")}),
    }


def everything(roles: RolesFile, target: Target, owner: str) -> tuple[list[str], list[str]]:
    """The statements for a new database: those of an administrator, and those of the tables' owner.

    Both can be run again; a role that is there already stays. A superuser may run both.
    """
    names = [target.prefix + name for name in roles.roles]
    create = [
        f"DO $$ BEGIN CREATE ROLE {quote(name)} NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        for name in names
    ]
    database, schema = Subject(PUBLIC, "DATABASE", target.database), Subject(PUBLIC, "SCHEMA", target.schema)
    wanted = {**owners_grants(owner, target), **wanted_grants(roles, target)}
    rights = [
        revoke(database, [Privilege("CONNECT"), Privilege("TEMPORARY")], target),
        revoke(schema, [Privilege("CREATE"), Privilege("USAGE")], target),
        revoke(Subject(PUBLIC, "DEFAULT", "ROUTINES"), [Privilege("EXECUTE")], target, owner),
        *(barrier(view, target) for view in roles.barriers),
        *(grant(subject, privileges, target) for subject, privileges in wanted.items()),
    ]
    return create, rights


def barrier(view: str, target: Target) -> str:
    """The statement that keeps a reader's own conditions from the rows that a view leaves out."""
    return f"ALTER VIEW {quote(target.schema)}.{quote(view)} SET (security_barrier = true)"


_MISSING: Final = text("""
WITH place AS (
    SELECT coalesce((SELECT relnamespace FROM pg_class WHERE oid = to_regclass('alembic_version')),
                    to_regnamespace('public')) AS schema
), wanted AS (
    SELECT * FROM unnest(CAST(:tables AS text[]), CAST(:verbs AS text[]), CAST(:columns AS text[]))
        AS wanted (relation, verb, attribute)
)
SELECT 'USAGE', NULL, 'schema ' || nspname FROM pg_namespace, place
WHERE pg_namespace.oid = place.schema AND NOT has_schema_privilege(place.schema, 'USAGE')
UNION ALL
SELECT verb, attribute, relation FROM wanted
CROSS JOIN place
JOIN pg_class ON relname = relation AND relnamespace = place.schema
LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attname = attribute
WHERE NOT CASE WHEN attribute IS NULL THEN has_table_privilege(pg_class.oid, verb)
               ELSE has_column_privilege(pg_class.oid, attnum, verb) END
""")


def missing_rights(connection: Connection, role: str) -> list[str]:
    """Which of a role's rights the session lacks, for example `INSERT on feedback`; what it has may come from anywhere.

    Tables that are not there are left out: the layout's revision tells of them.
    """
    spec = load_roles().roles[role]
    wanted = [(table, privilege) for table in spec.tables for privilege in sorted(spec.privileges(table), key=str)]
    found = connection.execute(
        _MISSING,
        {
            "tables": [table for table, _ in wanted],
            "verbs": [privilege.verb for _, privilege in wanted],
            "columns": [privilege.column for _, privilege in wanted],
        },
    )
    lacking: dict[str, list[Privilege]] = defaultdict(list)
    for verb, column, where in found:
        lacking[where].append(Privilege(verb, column))
    return [f"{listed(privileges)} on {where}" for where, privileges in lacking.items()]
