"""Databases with the declared roles, and the consumer's bench in one of them."""

import uuid
from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.engine import make_url

from schemas.connection import DatabaseConnection
from tests.conftest import Servers, _drop, _execute, _url_of
from tests.integration.conftest import bench, make_settings, other_tiny_bundle, tiny_bundle
from tests.security.database.guarded import GuardedDatabase, guarded, session

__all__ = ["bench", "make_settings", "other_tiny_bundle", "tiny_bundle"]


def administrator_of(database: DatabaseConnection, servers: Servers) -> DatabaseConnection:
    """A login that may create roles; the application's own may not."""
    url = make_url(database.sqlalchemy_url())
    if servers.stack is not None:
        url = url.set(username="postgres")
    found = DatabaseConnection(database_url=SecretStr(url.render_as_string(hide_password=False)))
    with session(found) as connection:
        if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
            pytest.skip("the role of DATABASE_URL is no superuser: it cannot make what the tests take away")
    return found


@pytest.fixture
def administrator(database: DatabaseConnection, servers: Servers) -> DatabaseConnection:
    """An administrator's login to the test's database."""
    return administrator_of(database, servers)


@pytest.fixture
def guarded_database(database: DatabaseConnection, administrator: DatabaseConnection) -> Iterator[GuardedDatabase]:
    """A fresh database whose rights are as declared."""
    with guarded(database, administrator) as made:
        yield made


@pytest.fixture(scope="module")
def shared_database(servers: Servers, template_database: str) -> Iterator[GuardedDatabase]:
    """The same for all tests of a module, which change nothing that another would miss."""
    name = f"shared_{uuid.uuid4().hex[:8]}"
    _execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template_database}")
    owner = DatabaseConnection(database_url=_url_of(servers, name))
    try:
        with guarded(owner, administrator_of(owner, servers)) as made:
            yield made
    finally:
        _drop(servers, name)
