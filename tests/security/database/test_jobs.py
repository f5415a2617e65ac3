"""Each role can do its job, with nothing that it does not need: without any single one of its rights it cannot."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from schemas.roles import Privilege, Subject, grant, load_roles, revoke, wanted_grants
from tests.security.database.guarded import GuardedDatabase
from tests.security.database.jobs import JOBS

pytestmark = pytest.mark.postgres

ROLES = load_roles().roles
# Who may not use the schema sees no table in it.
REFUSALS = ("permission denied", "does not exist", "is at revision none")


def do_all(role: str, database: GuardedDatabase) -> None:
    for job in JOBS[role]:
        job(database.login(role), database.owner)


def is_refused(role: str, database: GuardedDatabase) -> bool:
    """Whether the database refuses some part of a role's job."""
    try:
        do_all(role, database)
    except Exception as error:
        if not any(words in str(error) for words in REFUSALS):
            raise
        return True
    return False


@contextmanager
def without(subject: Subject, privilege: Privilege, database: GuardedDatabase) -> Iterator[None]:
    database.run(revoke(subject, [privilege], database.target))
    try:
        yield
    finally:
        database.run(grant(subject, [privilege], database.target))


def test_every_role_has_a_job() -> None:
    assert set(JOBS) == set(ROLES)


@pytest.mark.parametrize("role", ROLES)
def test_a_role_does_its_job_with_all_of_its_rights_and_not_without_one(
    role: str, guarded_database: GuardedDatabase
) -> None:
    do_all(role, guarded_database)

    not_needed = []
    for subject, privileges in wanted_grants(load_roles(), guarded_database.target).items():
        if subject.grantee != guarded_database.target.prefix + role:
            continue
        for privilege in privileges:
            with without(subject, privilege, guarded_database):
                if not is_refused(role, guarded_database):
                    not_needed.append(f"{privilege} on {subject}")
    assert not_needed == []
