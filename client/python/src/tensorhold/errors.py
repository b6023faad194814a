"""Errors: one class for each kind of reason that a server or this client gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2


class TensorholdError(Exception):
    """A request that was refused, or did not end in time. Nothing was changed by a refusal.

    `reason` is one of the protocol's (`"MODEL_UNKNOWN"`, `"NONFINITE"`, …) or the name of a gRPC
    status; `details` holds the values that the error is about, as the server sent them.
    """

    def __init__(self, reason: str, message: str, details: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.details: dict[str, str] = dict(details or {})

    def __str__(self) -> str:
        return f"{self.reason}: {super().__str__()}"

    @property
    def retryable(self) -> bool:
        """Whether the same request may succeed elsewhere or later, and is safe to repeat."""
        return self.reason in ("NOT_LEADER", "UNAVAILABLE")

    def __reduce__(self) -> tuple[Any, ...]:
        return (error, (self.reason, self.args[0], self.details))


class UnknownError(TensorholdError, LookupError):
    """There is no such model, parameter or session."""


class ExistsError(TensorholdError):
    """A model of that name, or a holder of that rank, is there already."""


class InvalidError(TensorholdError, ValueError):
    """A value that is not allowed: the message has the value seen and the value allowed."""


class SessionExpiredError(TensorholdError):
    """The session has ended: its lease ran out, or another took its rank. Join again."""


class StepError(TensorholdError):
    """A step that was made without this worker, or given up. Join again: last_step says where."""


class StaleError(TensorholdError):
    """What the request built on has changed: pull again, then repeat it."""


class LimitError(TensorholdError):
    """A limit of the server: its name and value are in the message."""


class DamagedError(TensorholdError):
    """Bytes that do not match their checksum."""


class UnavailableError(TensorholdError, ConnectionError):
    """No server that can answer was reached before the deadline."""


class DeadlineError(UnavailableError, TimeoutError):
    """No answer came in time. A push may have been applied; its repetition by `retry` is safe."""


_CLASSES: dict[str, type[TensorholdError]] = {
    "MODEL_UNKNOWN": UnknownError,
    "PARAMETER_UNKNOWN": UnknownError,
    "SESSION_UNKNOWN": UnknownError,
    "MODEL_EXISTS": ExistsError,
    "RANK_TAKEN": ExistsError,
    "NAME_INVALID": InvalidError,
    "SHAPE_INVALID": InvalidError,
    "ALIAS_INVALID": InvalidError,
    "DTYPE_INVALID": InvalidError,
    "CODEC_INVALID": InvalidError,
    "OPTIMIZER_INVALID": InvalidError,
    "PAYLOAD_LENGTH": InvalidError,
    "NONFINITE": InvalidError,
    "RANK_INVALID": InvalidError,
    "REQUEST_INVALID": InvalidError,
    "BLOCK_OUT_OF_RANGE": InvalidError,
    "KEYS_INVALID": InvalidError,
    "INVALID_ARGUMENT": InvalidError,
    "SESSION_EXPIRED": SessionExpiredError,
    "STEP_CLOSED": StepError,
    "STEP_CONFLICT": StepError,
    "STEP_FAILED": StepError,
    "STEP_UNKNOWN": StepError,
    "STALE": StaleError,
    "OVERLAY_LOST": StaleError,
    "LIMIT": LimitError,
    "DISK_FULL": LimitError,
    "RESOURCE_EXHAUSTED": LimitError,
    "CHECKSUM": DamagedError,
    "NOT_LEADER": UnavailableError,
    "UNAVAILABLE": UnavailableError,
    "DEADLINE_EXCEEDED": DeadlineError,
}


def error(reason: str, message: str, details: Mapping[str, str] | None = None) -> TensorholdError:
    """The exception of a reason."""
    return _CLASSES.get(reason, TensorholdError)(reason, message, details)


def of_status(status: Any) -> TensorholdError:
    """What a google.rpc.Status says."""
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo()
            detail.Unpack(info)
            return error(info.reason, status.message, dict(info.metadata))
    name = _code_name(status.code)
    # A server that goes down cancels what it has: as good as no answer.
    return error("UNAVAILABLE" if name == "CANCELLED" else name, status.message)


def of_rpc(failure: grpc.RpcError) -> TensorholdError:
    """What a failed call says."""
    return of_trailers(
        failure.code().value[0],
        failure.details() or "",
        dict(failure.trailing_metadata() or ()).get("grpc-status-details-bin"),
    )


def of_trailers(code: int, text: str, details: bytes | None) -> TensorholdError:
    """What the trailers of a call say."""
    if details:
        status = status_pb2.Status()
        status.ParseFromString(details)
        return of_status(status)
    return of_status(status_pb2.Status(code=code, message=text or _code_name(code)))


def _code_name(code: int) -> str:
    for known in grpc.StatusCode:
        if known.value[0] == code:
            return str(known.name)
    return "UNKNOWN"
