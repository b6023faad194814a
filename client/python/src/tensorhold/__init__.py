"""Tensorhold: a parameter server that does not forget.

    import tensorhold
    with tensorhold.connect("127.0.0.1:7070") as client:
        print(client.model("bert"))
        weights = client.pull("bert")

`tensorhold.torch` has what PyTorch needs, `tensorhold.aio` the client for asyncio.
"""

from tensorhold import aio
from tensorhold._step import StepRecord
from tensorhold.client import Client, Session, connect
from tensorhold.codecs import Codec
from tensorhold.errors import (
    DamagedError,
    DeadlineError,
    ExistsError,
    InvalidError,
    LimitError,
    SessionExpiredError,
    StaleError,
    StepError,
    TensorholdError,
    UnavailableError,
    UnknownError,
)
from tensorhold.gradients import GradientCodec
from tensorhold.model import Model, Optimizer, Parameter, Tensor
from tensorhold.tables import Table, TableSpec
from tensorhold.worker import Worker

__all__ = [
    "Client",
    "Codec",
    "DamagedError",
    "DeadlineError",
    "ExistsError",
    "GradientCodec",
    "InvalidError",
    "LimitError",
    "Model",
    "Optimizer",
    "Parameter",
    "Session",
    "SessionExpiredError",
    "StaleError",
    "StepError",
    "StepRecord",
    "Table",
    "TableSpec",
    "Tensor",
    "TensorholdError",
    "UnavailableError",
    "UnknownError",
    "Worker",
    "aio",
    "connect",
]
