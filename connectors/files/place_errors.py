"""Errors of fsspec and its clients, told in terms of a URL and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from arrowstream.connectors.files.credentials import without_credentials
from arrowstream.connectors.files.errors import changed
from arrowstream.errors import ArrowStreamError, ConnectorError, PlanError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable


class AbsentError(ConnectorError):
    """Nothing is at a URL: not yet, or not any more."""


_EXTRAS = {"s3": "s3", "s3a": "s3", "http": "http", "https": "http"}

_REFUSED = frozenset({
    "AccessDenied", "AuthorizationHeaderMalformed", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken",
    "NoCredentialsError", "PartialCredentialsError", "PermissionError", "SignatureDoesNotMatch",
    "TokenRefreshRequired",
})  # fmt: skip
_GONE = frozenset({"FileNotFoundError", "NoSuchKey", "NoSuchVersion", "NotFound"})
_CHANGED = frozenset({"FileExpired", "PreconditionFailed"})
_SILENT = frozenset({"ConnectTimeoutError", "FSTimeoutError", "ReadTimeoutError", "TimeoutError"})
_UNREACHABLE = frozenset({
    "ClientConnectorDNSError", "ClientConnectorError", "ConnectionClosedError", "ConnectionError",
    "EndpointConnectionError",     "ProxyConnectionError", "ServerDisconnectedError",
})  # fmt: skip
_ELSEWHERE = frozenset({"InnerAddressError", "NonHttpUrlRedirectClientError", "TooManyRedirects"})
_NO_FILES = frozenset({"IsADirectoryError", "NotADirectoryError"})
_REDIRECT_HINT = "give the URL that it leads to, if it is the right one"
_OPTIONS_HINT = "they are those of fsspec's file system for such URLs"
_BUSY_STATUSES = frozenset({408, 425, 429})
_SERVER_STATUS_MIN = 500


def place_error(error: BaseException, name: str, secret: Iterable[str]) -> ArrowStreamError:
    """The error to raise `from None`: causes can hold URLs with credentials.

    Parameters
    ----------
    name
        The file or pattern, as it may be shown.
    secret
        What may not be shown.
    """
    if isinstance(error, ArrowStreamError):
        return error
    causes = _causes(error)
    kinds = {kind for cause in causes for kind in (*_class_names(cause), _code(cause))}
    statuses = {status for cause in causes if (status := _status(cause)) is not None}
    if kinds & _CHANGED or 412 in statuses:
        return changed(name)
    text = without_credentials(_text(causes), secret)
    if "TypeError" in kinds:
        return PlanError(f"the storage_options for {name} are not understood: {text}", hint=_OPTIONS_HINT)
    known = None if kinds & _ELSEWHERE else _refused(name, kinds, statuses)
    known = known or _retryable(name, kinds, statuses)
    if known is not None:
        return known
    return ConnectorError(
        f"{name} cannot be read: {text}",
        retryable="OSError" in kinds and not kinds & _NO_FILES,
        hint=_REDIRECT_HINT if kinds & _ELSEWHERE else "check the URL and the storage_options",
    )


def _refused(name: str, kinds: set[str], statuses: set[int]) -> ConnectorError | None:
    """For what will not be there later either."""
    if kinds & _REFUSED or statuses & {401, 403}:
        return ConnectorError(f"{name} cannot be read: access denied", hint=_access_hint(name))
    if "NoSuchBucket" in kinds:
        return ConnectorError(
            f"{name} does not exist: there is no such bucket", hint="check the bucket's name"
        )
    if kinds & _GONE or statuses & {404, 410}:
        return AbsentError(
            f"{name} does not exist (any more)",
            hint="check the URL, or build the query again without the file",
        )
    return None


def _retryable(name: str, kinds: set[str], statuses: set[int]) -> ConnectorError | None:
    """For what may be better later."""
    busy = {status for status in statuses if status in _BUSY_STATUSES or status >= _SERVER_STATUS_MIN}
    if kinds & _SILENT:
        fact = "no answer in time"
        hint = "the service or the network is slow or down: run again later"
    elif kinds & _UNREACHABLE:
        fact = "its server cannot be reached"
        endpoint = " (storage_options endpoint_url)" if name.startswith(("s3:", "s3a:")) else ""
        hint = f"check the host{endpoint} and the network; or run again later"
    elif busy:
        fact = f"the server answers {min(busy)}"
        hint = "the server is overloaded or failing: run again later"
    else:
        return None
    return ConnectorError(f"{name} cannot be read: {fact}", retryable=True, hint=hint)


def missing_client(error: ImportError, scheme: str) -> ConnectorError:
    """For URLs whose client library is not installed."""
    if scheme in _EXTRAS:
        return ConnectorError(
            f"{scheme}:// needs a package that is not installed: {error.name or error}",
            hint=f'pip install "arrowstream[{_EXTRAS[scheme]}]"',
        )
    return ConnectorError(
        f"{scheme}:// needs a package that is not installed: {_text([error])}", hint="install that package"
    )


def unknown_scheme(scheme: str, known: Iterable[str]) -> PlanError:
    """For URLs that fsspec does not know."""
    similar = nearest(scheme, known)
    return PlanError(
        f"{scheme}:// is not a kind of URL that can be read",
        choices=("s3", "http", "https", "memory", "file"),
        hint=f"did you mean {similar}://?"
        if similar
        else "any protocol of fsspec works once its package is installed",
    )


def _access_hint(name: str) -> str:
    if name.startswith(("s3:", "s3a:")):
        return (
            'give storage_options={"key": …, "secret": …}, or set AWS_ACCESS_KEY_ID and '
            'AWS_SECRET_ACCESS_KEY; a public bucket needs {"anon": True}'
        )
    return "the credentials in storage_options (or in the URL) are missing, wrong or expired"


def _causes(error: BaseException) -> list[BaseException]:
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    if len(causes) > 1 and isinstance(error, FileNotFoundError):
        return causes[1:]  # HTTP's client calls everything so
    return causes


def _class_names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _code(error: BaseException) -> str:
    """The code that S3 gives."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _status(error: BaseException) -> int | None:
    """The status of HTTP."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return found if isinstance(found, int) else None
    status = getattr(error, "status", None)
    return status if isinstance(status, int) else None


def _text(causes: list[BaseException]) -> str:
    """What the innermost says, on one line: the others repeat the URL."""
    text = " ".join(str(causes[-1]).split())
    return text or type(causes[-1]).__name__
