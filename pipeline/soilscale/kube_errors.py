"""What Kubernetes says no to, in our words, as errors with a status."""

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
def asking(what: str) -> Iterator[None]:
    """Tell in our words what Kubernetes says no to."""
    import httpx
    import kr8s

    try:
        yield
    except kr8s.ServerError as error:
        status = SERVER if error.response is None else error.response.status_code
        raise _explained(what, status, _message(error)) from error
    except (kr8s.APITimeoutError, kr8s.ConnectionClosedError, httpx.HTTPError, OSError) as error:
        reason = str(error) or type(error).__name__
        raise ServiceError(f"cannot {what}: the API of Kubernetes does not answer ({reason})") from error


def _explained(what: str, status: int, said: str) -> ConfigurationError | ServiceError:
    """Error for an answer of Kubernetes that is none of success."""
    # An exceeded quota is also a 403, but it passes by itself; so is who may not list resourcequotas, which does not.
    if status == FORBIDDEN and " quota" not in said:
        return ConfigurationError(
            f"cannot {what}: Kubernetes forbids it ({said}); give the runner's service account the chart's Role "
            "(rbac.create)"
        )
    if status == NOT_FOUND:
        return ServiceError(
            f"cannot {what}: Kubernetes knows no such resource ({said}); install the Dask operator, whose definitions "
            f"({VERSION}) are missing, and see that the namespace is right"
        )
    if CLIENT <= status < SERVER and status not in (FORBIDDEN, UNAUTHORIZED, 409, 429):
        return ConfigurationError(f"cannot {what}: Kubernetes refuses it ({said}); mend the file of --cluster")
    return ServiceError(f"cannot {what}: Kubernetes says {status} ({said}); the same command tries it again")


def _message(error: kr8s.ServerError) -> str:
    """What the server said; without a message its status alone, where kr8s links to a browser's handbook."""
    response = error.response
    try:
        content = None if response is None else response.json()
    except ValueError:
        content = None
    if isinstance(content, dict) and content.get("message"):
        return str(content["message"])
    return str(error) if response is None else f"{response.status_code} {response.reason_phrase}, without a message"


def denied(error: Exception) -> bool:
    """Whether Kubernetes no longer knows who asks, or does not let him."""
    response = getattr(error.__cause__, "response", None)
    return response is not None and response.status_code in {UNAUTHORIZED, FORBIDDEN}
