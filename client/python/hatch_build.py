"""Build hook: the protocol's classes are generated whenever the package is built or installed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).resolve().parent))

import stubs


class ProtocolHook(BuildHookInterface):  # type: ignore[misc,unused-ignore]
    """Writes src/tensorhold/v1 before the files of the package are gathered."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel":
            stubs.generate(Path(self.root) / "src")
