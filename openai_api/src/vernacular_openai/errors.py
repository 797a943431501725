"""What a call is refused with, in the form that SDKs of the OpenAI API read."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A call that is answered with an error. `param` is the field that is wrong, `code` a word for programs."""

    def __init__(self, status: int, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param

    @property
    def body(self) -> dict[str, Any]:
        """The answer."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def refused(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """What is asked for cannot be honoured."""
    return ApiError(400, message, code=code, param=param)


def not_found(what: str, param: str | None = None) -> ApiError:
    """There is no such thing in the namespace."""
    return ApiError(404, f"No such {what} in this namespace.", code="not_found", param=param)
