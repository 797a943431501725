"""What can go wrong with a call to MLflow, as far as the operator acts differently on it."""

from __future__ import annotations


class TrackingError(Exception):
    """A call to MLflow failed."""


class TrackingUnavailableError(TrackingError):
    """No answer, or one that may be better later."""


class TrackingDeniedError(TrackingError):
    """MLflow refuses the operator's credentials or rights."""


class TrackingNotFoundError(TrackingError):
    """MLflow does not know the experiment or run."""


class TrackingRefusedError(TrackingError):
    """MLflow refuses the call itself, such as one about a deleted run; trying again is useless."""


class TrackingConflictError(TrackingError):
    """The name is taken already."""
