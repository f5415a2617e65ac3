"""What a storage library's error means, and what to do about it, without the words that it came with."""

from typing import Final

_CREDENTIALS: Final = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and what they may do there"
_ENDPOINT: Final = "check AWS_ENDPOINT_URL_S3, the region (AWS_DEFAULT_REGION) and the network"
_LIBRARY: Final = "for s3:// run `pip install 'feedback-stream[s3]'`"
_OF_NETWORK: Final = frozenset({"ConnectionError", "TimeoutError", "ClientOSError"})
_NO_CREDENTIALS: Final = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"}
)
_REFUSED: Final = frozenset({"ExpiredToken", "InvalidToken", "AuthorizationHeaderMalformed", "TokenRefreshRequired"})


def explain(error: BaseException, place: str) -> str:
    """One line: the place, what is wrong, and the mend."""
    code, names = error_code(error), {cls.__name__ for cls in type(error).__mro__}
    kind = type(error).__name__
    missing = f" ({error.name} is missing)" if isinstance(error, ImportError) and error.name else ""
    # Without an answer of S3, an OSError that says why comes from a file system.
    local = isinstance(error, OSError) and code is None and bool(error.strerror) and not names & _OF_NETWORK
    strerror = error.strerror if isinstance(error, OSError) else None
    meanings = (
        (isinstance(error, ImportError), f"no library for this kind of URL{missing}; {_LIBRARY}"),
        (isinstance(error, ValueError), "no kind of URL that is known; use a folder, file:// or s3://"),
        (is_bucket_missing(error), "there is no such bucket; make it, or correct --to"),
        (local, f"{strerror}; see to it, or give another --to"),
        (
            isinstance(error, PermissionError) or code in _REFUSED,
            f"the storage refuses{f' ({code})' if code else ''}; {_CREDENTIALS}",
        ),
        (bool(names & _NO_CREDENTIALS), f"no credentials ({kind}); {_CREDENTIALS}"),
        (code is not None, f"the storage answers {code}; {_ENDPOINT}"),
        (True, f"the storage does not answer ({kind}); {_ENDPOINT}"),
    )
    return f"{place}: {next(words for applies, words in meanings if applies)}"


def is_bucket_missing(error: BaseException) -> bool:
    """Whether it is the bucket that is not there, rather than a file in it."""
    return error_code(error) == "NoSuchBucket"


def error_code(error: BaseException) -> str | None:
    """S3's own name for an error, which s3fs keeps behind the one that it raises."""
    response = getattr(error.__cause__ or error, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None
