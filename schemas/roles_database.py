"""How a database's rights depart from the declaration, and how they are brought in line with it."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from schemas.migrate import ADVISORY_LOCK_KEY
from schemas.roles import (
    PUBLIC,
    Grants,
    Privilege,
    RolesFile,
    Subject,
    Target,
    barrier,
    grant,
    listed,
    owners_grants,
    quote,
    revoke,
    wanted_grants,
)

_INSUFFICIENT_PRIVILEGE: Final = "42501"
_NONE: Final[frozenset[Privilege]] = frozenset()

# Taken away before anything is given: REVOKE on a table takes the rights on its columns along.
Step = Literal["create", "revoke", "grant", "leave"]
_STEPS: Final[tuple[Step, ...]] = ("create", "revoke", "grant")

# Attributes that would lift a role over all rights. LOGIN is left to the administrator.
_ATTRIBUTES: Final = {
    "rolsuper": "SUPERUSER",
    "rolcreaterole": "CREATEROLE",
    "rolcreatedb": "CREATEDB",
    "rolreplication": "REPLICATION",
    "rolbypassrls": "BYPASSRLS",
}


class RolesError(Exception):
    """The rights cannot be compared or changed. The message says what to do."""


@dataclass(frozen=True, slots=True)
class RoleDifference:
    """One way in which the database departs from the declaration.

    `wanted` and `found` are written for people; `statement` mends it. Where `step` is `leave` it is somebody else's
    role that has a right: it is shown, and left alone.
    """

    role: str
    on: str
    wanted: str
    found: str
    step: Step
    statement: str

    @property
    def is_ours(self) -> bool:
        """Whether it is about what the declaration decides."""
        return self.step != "leave"

    def as_json(self) -> dict[str, object]:
        """As `roles diff --json` prints it."""
        shown = {name: getattr(self, name) for name in ("role", "on", "wanted", "found", "statement")}
        return {**shown, "declared": self.is_ours}


def diff_roles(connection: Connection, roles: RolesFile, target: Target) -> list[RoleDifference]:
    """Compare the database with the declaration; no difference other than `leave` means that they agree.

    Raises:
        RolesError: there are no tables.
        sqlalchemy.exc.SQLAlchemyError: the database is away or refuses.
    """
    owner = _owner(connection, target)
    managed = [target.prefix + name for name in roles.roles]
    wanted = {**wanted_grants(roles, target), **_owners_grants(connection, target, owner)}
    found = _found_grants(connection, roles, target, owner)
    return [
        *_missing_roles(connection, managed),
        *_lifted_roles(connection, managed),
        *_compare(wanted, found, managed, target, owner),
        *_open_views(connection, roles, target),
    ]


def apply_roles(engine: Engine, roles: RolesFile, target: Target) -> tuple[list[RoleDifference], list[RoleDifference]]:
    """Bring the database in line, in one transaction; what this login may not do is left.

    Without the roles nothing is done at all: rights that everybody has are not taken before somebody else has them.

    Returns:
        What was changed, and what is left for somebody with more rights.

    Raises:
        RolesError: there are no tables.
        sqlalchemy.exc.SQLAlchemyError: the database is away or refuses; nothing was changed.
    """
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK_KEY})
        before = diff_roles(connection, roles, target)
        for step in _STEPS:
            for difference in diff_roles(connection, roles, target):
                if difference.step == step:
                    _attempt(connection, difference.statement)
            missing = [each for each in diff_roles(connection, roles, target) if each.step == "create"]
            if missing:
                return [], missing
        left = [difference for difference in diff_roles(connection, roles, target) if difference.is_ours]
    left_on = {(difference.role, difference.on) for difference in left}
    changed = [each for each in before if each.is_ours and (each.role, each.on) not in left_on]
    return changed, left


def _attempt(connection: Connection, statement: str) -> None:
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement.replace("%", "%%"))
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _INSUFFICIENT_PRIVILEGE:
            raise


def _owner(connection: Connection, target: Target) -> str:
    owner: str | None = connection.scalar(
        text("SELECT tableowner FROM pg_tables WHERE schemaname = :schema AND tablename = 'alembic_version'"),
        {"schema": target.schema},
    )
    if owner is None:
        raise RolesError(
            f"the schema {target.schema} of {target.database} holds no tables: run `python -m schemas migrate` first"
        )
    return owner


def _owners_grants(connection: Connection, target: Target, owner: str) -> Grants:
    owned = connection.execute(
        text(
            "SELECT pg_has_role(:owner, datdba, 'USAGE') AS database, pg_has_role(:owner, nspowner, 'USAGE') AS schema "
            "FROM pg_database, pg_namespace WHERE datname = current_database() AND nspname = :schema"
        ),
        {"owner": owner, "schema": target.schema},
    ).one()
    is_owned = {"DATABASE": owned.database, "SCHEMA": owned.schema}
    return {subject: wanted for subject, wanted in owners_grants(owner, target).items() if not is_owned[subject.kind]}


def _missing_roles(connection: Connection, managed: list[str]) -> list[RoleDifference]:
    there = set(
        connection.scalars(text("SELECT rolname FROM pg_roles WHERE rolname = ANY(:names)"), {"names": managed})
    )
    return [
        RoleDifference(role, "role", "present", "absent", "create", f"CREATE ROLE {quote(role)} NOLOGIN")
        for role in managed
        if role not in there
    ]


def _lifted_roles(connection: Connection, managed: list[str]) -> list[RoleDifference]:
    """Roles with attributes, or with memberships, that give more than the declaration does."""
    rows = connection.execute(text("SELECT * FROM pg_roles WHERE rolname = ANY(:names)"), {"names": managed}).mappings()
    lifted = [(row["rolname"], word) for row in rows for column, word in _ATTRIBUTES.items() if row[column]]
    members = connection.execute(
        text(
            "SELECT member.rolname, parent.rolname FROM pg_auth_members "
            "JOIN pg_roles AS member ON member.oid = pg_auth_members.member "
            "JOIN pg_roles AS parent ON parent.oid = pg_auth_members.roleid WHERE member.rolname = ANY(:names)"
        ),
        {"names": managed},
    )
    return [
        *(
            RoleDifference(role, "role", f"NO{word}", word, "revoke", f"ALTER ROLE {quote(role)} NO{word}")
            for role, word in lifted
        ),
        *(
            RoleDifference(
                role, f"role {parent}", "no member", "member", "revoke", f"REVOKE {quote(parent)} FROM {quote(role)}"
            )
            for role, parent in members
        ),
    ]


def _compare(wanted: Grants, found: Grants, managed: list[str], target: Target, owner: str) -> Iterable[RoleDifference]:
    for subject in sorted({*wanted, *found}):
        asked, there = wanted.get(subject, _NONE), found.get(subject, _NONE)
        missing, excess = asked - there, there - asked

        def difference(step: Step, statement: str, subject: Subject = subject) -> RoleDifference:
            asked, there = wanted.get(subject, _NONE), found.get(subject, _NONE)
            return RoleDifference(
                subject.grantee, str(subject), listed(asked) or "nothing", listed(there) or "nothing", step, statement
            )

        if excess and subject.grantee != owner:
            step: Step = "revoke" if subject.grantee in managed or subject.grantee == PUBLIC else "leave"
            yield difference(step, revoke(subject, excess, target, owner))
        if missing:
            yield difference("grant", grant(subject, missing, target))


def _open_views(connection: Connection, roles: RolesFile, target: Target) -> list[RoleDifference]:
    closed = set(
        connection.scalars(
            text(
                "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(:schema) "
                "AND (reloptions @> '{security_barrier=true}' OR reloptions @> '{security_barrier=on}')"
            ),
            {"schema": quote(target.schema)},
        )
    )
    return [
        RoleDifference("", f"view {view}", "security_barrier", "none", "grant", barrier(view, target))
        for view in roles.barriers
        if view not in closed
    ]


# What one ACL says, whosever it is but the owner's. A missing ACL stands for the built-in one.
_ACL: Final = """
SELECT coalesce(grantee.rolname, 'PUBLIC') AS grantee, kind, name, privilege_type AS verb, attribute
FROM ({acls}) AS acls (kind, name, attribute, acl, owner)
CROSS JOIN LATERAL aclexplode(acl)
LEFT JOIN pg_roles AS grantee ON grantee.oid = aclexplode.grantee
WHERE aclexplode.grantee <> owner
"""
_ACLS: Final = """
SELECT 'DATABASE', datname, NULL, coalesce(datacl, acldefault('d', datdba)), datdba
FROM pg_database WHERE datname = current_database()
UNION ALL
SELECT 'SCHEMA', nspname, NULL, coalesce(nspacl, acldefault('n', nspowner)), nspowner
FROM pg_namespace WHERE nspname = :schema
UNION ALL
SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, relname, NULL, relacl, relowner
FROM ours WHERE relacl IS NOT NULL
UNION ALL
SELECT 'TABLE', relname, attname, attacl, relowner
FROM ours JOIN pg_attribute ON attrelid = ours.oid WHERE attacl IS NOT NULL AND NOT attisdropped
UNION ALL
SELECT 'ROUTINE', format('%I.%I(%s)', :schema, proname, pg_get_function_identity_arguments(pg_proc.oid)), NULL,
       coalesce(proacl, acldefault('f', proowner)), proowner
FROM pg_proc JOIN owner ON proowner = owner.oid WHERE pronamespace = to_regnamespace(quote_ident(:schema))
UNION ALL
SELECT CASE WHEN whole.global THEN 'DEFAULT' ELSE 'DEFAULT IN SCHEMA' END, whole.name, NULL,
       coalesce(defaclacl, CASE WHEN whole.global THEN acldefault(whole.builtin, owner.oid) END), owner.oid
FROM owner
CROSS JOIN (VALUES ('TABLES', 'r'::"char", 'r'::"char"), ('SEQUENCES', 'S', 's'), ('ROUTINES', 'f', 'f'))
    AS things (name, type, builtin)
CROSS JOIN LATERAL (VALUES (true, things.name, things.builtin), (false, things.name, things.builtin))
    AS whole (global, name, builtin)
LEFT JOIN pg_default_acl ON defaclrole = owner.oid AND defaclobjtype = things.type
    AND defaclnamespace = CASE WHEN whole.global THEN 0 ELSE to_regnamespace(quote_ident(:schema))::oid END
"""
_FOUND: Final = text(f"""
WITH owner AS (SELECT oid FROM pg_roles WHERE rolname = :owner),
ours AS (
    SELECT pg_class.* FROM pg_class, owner
    WHERE relnamespace = to_regnamespace(quote_ident(:schema)) AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
        AND (relowner = owner.oid OR relname = ANY(:declared))
)
{_ACL.format(acls=_ACLS)}
""")  # noqa: S608 (constants)


def _found_grants(connection: Connection, roles: RolesFile, target: Target, owner: str) -> Grants:
    parameters: Mapping[str, object] = {
        "schema": target.schema,
        "owner": owner,
        "declared": sorted(roles.relations()),
    }
    found: dict[Subject, set[Privilege]] = defaultdict(set)
    for row in connection.execute(_FOUND, parameters):
        found[Subject(row.grantee, row.kind, row.name)].add(Privilege(row.verb, row.attribute))
    return {subject: frozenset(privileges) for subject, privileges in found.items()}
