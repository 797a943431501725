"""What can go wrong with a call to the API server, in the operator's own words."""

from __future__ import annotations

# the admission of owner references learns of new kinds every half a minute: in the first one after an install it
# refuses children, which has nothing to do with rights
_NEW_KIND = "cannot find RESTMapping"
_WEBHOOK = "failed calling webhook"


class KubeError(Exception):
    """A call to the API server failed. `status` is the HTTP status, 0 when there was no answer."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(KubeError):
    """The object, or its kind, does not exist."""


class AlreadyExistsError(KubeError):
    """A created object's name is taken."""


class ConflictError(KubeError):
    """The object changed since it was read."""


class GoneError(KubeError):
    """A version or a list is too old to go on from."""


class ForbiddenError(KubeError):
    """The operator's account may not do this."""


class InvalidError(KubeError):
    """The API server refuses the object itself; trying again is useless."""


class UnavailableError(KubeError):
    """The API server did not answer, or asked to come back later."""


class WebhookAwayError(UnavailableError):
    """A webhook that has to agree does not answer: nothing can be created until it does."""


def error_for(status: int, message: str, reason: str = "") -> KubeError:
    """The error that stands for an HTTP status of 400 or more. `reason` is that of the Status object."""
    match status:
        case 404:
            return NotFoundError(message, status)
        case 409 if reason == "AlreadyExists":
            return AlreadyExistsError(message, status)
        case 409:
            return ConflictError(message, status)
        case 410:
            return GoneError(message, status)
        case 403 if _NEW_KIND in message:
            return UnavailableError(message, status)
        case 401 | 403:
            return ForbiddenError(message, status)
        case 400 | 413 | 422:
            return InvalidError(message, status)
        case 408 | 429:
            return UnavailableError(message, status)
        case 500 if _WEBHOOK in message:
            return WebhookAwayError(message, status)
        case _ if status >= 500:
            return UnavailableError(message, status)
        case _:
            return KubeError(message, status)
