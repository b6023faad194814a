"""What PyTorch needs: state dicts, an optimizer that lives in the store, DiLoCo, checkpoints.

from tensorhold.torch import RemoteOptimizer, pull_state_dict, push_state_dict
"""

from tensorhold.torch.checkpoint import StoreReader, StoreWriter, delete_checkpoint
from tensorhold.torch.diloco import DiLoCo
from tensorhold.torch.embedding import RemoteEmbedding, RemoteEmbeddingBag
from tensorhold.torch.launching import launch
from tensorhold.torch.optimizer import RemoteOptimizer
from tensorhold.torch.state import create_from_module, pull_state_dict, push_state_dict

__all__ = [
    "DiLoCo",
    "RemoteEmbedding",
    "RemoteEmbeddingBag",
    "RemoteOptimizer",
    "StoreReader",
    "StoreWriter",
    "create_from_module",
    "delete_checkpoint",
    "launch",
    "pull_state_dict",
    "push_state_dict",
]
