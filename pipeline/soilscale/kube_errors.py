"""Errors of Kubernetes, in plain words and with a status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from soilscale.errors import ConfigurationError, ServiceError
from soilscale.manifests import VERSION

if TYPE_CHECKING:
    import kr8s

UNAUTHORIZED, FORBIDDEN, NOT_FOUND, CLIENT, SERVER = 401, 403, 404, 400, 500


@contextmanager
def asking(action: str) -> Iterator[None]:
    """Raise what Kubernetes refuses as an error of this package."""
    import httpx
    import kr8s

    try:
        yield
    except kr8s.ServerError as error:
        status = SERVER if error.response is None else error.response.status_code
        raise _explained(action, status, _message(error)) from error
    except (kr8s.APITimeoutError, kr8s.ConnectionClosedError, httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"cannot {action}: the Kubernetes API does not respond ({reason})") from error


def _explained(action: str, status: int, reply: str) -> ConfigurationError | ServiceError:
    """Error for an answer of Kubernetes that is none of success."""
    # An exceeded quota is also a 403, but it passes by itself; a missing right to list resourcequotas does not.
    if status == FORBIDDEN and " quota" not in reply:
        return ConfigurationError(
            f"cannot {action}: Kubernetes forbids it ({reply}); give the runner's service account the chart's Role "
            "(rbac.create)"
        )
    if status == NOT_FOUND:
        return ServiceError(
            f"cannot {action}: Kubernetes knows no such resource ({reply}); install the Dask operator, whose "
            f"definitions ({VERSION}) are missing, and check the namespace"
        )
    if CLIENT <= status < SERVER and status not in (FORBIDDEN, UNAUTHORIZED, 409, 429):
        return ConfigurationError(f"cannot {action}: Kubernetes refuses it ({reply}); correct the file of --cluster")
    return ServiceError(f"cannot {action}: Kubernetes says {status} ({reply}); the same command retries it")


def _message(error: kr8s.ServerError) -> str:
    """Message of the server; its status if it sent none, for which kr8s would link to a handbook of browsers."""
    response = error.response
    try:
        content = None if response is None else response.json()
    except ValueError:
        content = None
    if isinstance(content, dict) and content.get("message"):
        return str(content["message"])
    return str(error) if response is None else f"{response.status_code} {response.reason_phrase}, without a message"


def denied(error: Exception) -> bool:
    """Whether Kubernetes refuses the identity of this process, or denies it the right."""
    response = getattr(error.__cause__, "response", None)
    return response is not None and response.status_code in {UNAUTHORIZED, FORBIDDEN}
