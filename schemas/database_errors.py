"""What stands behind an error of PostgreSQL's client, in one line that names no password and no value."""

from typing import Final

_ATTEMPT: Final = "connection to server "
_INSUFFICIENT_PRIVILEGE: Final = "42501"
_RIGHTS: Final = "this login lacks a right: docs/database-security.md says which role has it"

# libpq's words, or the server's that it passes on, and what to do about them. All of these outlast waiting.
_ADVICE: Final = (
    (
        "certificate verify failed",
        "the server's certificate has expired, or comes from another authority than sslrootcert names",
    ),
    ("does not match host name", "connect by a name that the server's certificate holds"),
    ("does not support SSL", "the server has no TLS: switch it on there"),
    ("root certificate file", "sslrootcert names the certificate of the server's authority"),
    ("requires a valid client certificate", "sslcert and sslkey name the client's certificate and key"),
    ("certificate required", "sslcert and sslkey name the client's certificate and key"),
    ("unknown ca", "the server does not know the authority of the certificate in sslcert"),
    ("certificate expired", "the certificate in sslcert has expired"),
    ("certificate authentication failed", "the certificate in sslcert is not this user's"),
    ("private key file", "sslkey names the key of the certificate in sslcert, which only its owner may read"),
    ("could not read certificate file", "sslcert names the client's certificate"),
    ("sslmode value", "sslmode is disable, allow, prefer, require, verify-ca or verify-full"),
    ("invalid connection option", "a word after the ? of DATABASE_URL is no option of libpq's"),
    ("no encryption", "the server lets nobody in without TLS: sslmode=verify-full"),
    ("no pg_hba.conf entry", "the server does not let this user into this database from here"),
    (
        "password authentication failed",
        "check user, password (special characters percent-encoded) and the client certificate, if one is asked for",
    ),
    ("no password supplied", "DATABASE_URL names none"),
    ("permission denied for database", _RIGHTS),
    ("is not permitted to log in", "it is a role of rights: make a login role, a member of it"),
    ("does not exist", "check DATABASE_URL"),
    ("authentication failed", "check DATABASE_URL"),
)


def explain(error: BaseException) -> str:
    """An error of SQLAlchemy's or psycopg2's in one line, with what to do about it where that is known."""
    words = server_words(error)
    advice = advice_on(error)
    return words if advice is None else f"{words}: {advice}"


def server_words(error: BaseException) -> str:
    """What client or server said, the reasons of all attempts in one line. It may quote a statement's values."""
    cause = _cause(error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    attempts = [line for line in lines if line.startswith(_ATTEMPT)]
    return "; ".join(dict.fromkeys(attempts)) or (lines[0] if lines else type(cause).__name__)


def advice_on(error: BaseException) -> str | None:
    """What a person has to do about it; None where waiting may help, or nothing is known."""
    cause = _cause(error)
    sqlstate = getattr(cause, "pgcode", None)
    if sqlstate is not None:
        return _RIGHTS if sqlstate == _INSUFFICIENT_PRIVILEGE else None
    # Of these two kinds are the errors of a connection; others may quote a value.
    said = str(cause) if type(cause).__name__ in {"OperationalError", "ProgrammingError"} else ""
    return next((advice for words, advice in _ADVICE if words in said), None)


def _cause(error: BaseException) -> BaseException:
    original = getattr(error, "orig", None)
    return original if isinstance(original, BaseException) else error.__cause__ or error
