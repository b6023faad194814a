"""What the workers wrote down, held against what the store gives back. Shares no code with Tensorhold."""

import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

ROW = 256


@dataclass
class Ledger:
    """The events of all workers: for each row when it was sent and how it ended."""

    sent: dict[int, int] = field(default_factory=dict)
    acked: dict[int, int] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    @staticmethod
    def read(files: list[Path]) -> "Ledger":
        ledger = Ledger()
        for file in files:
            if not file.exists():
                continue
            for line in file.read_text().splitlines():
                words = line.split()
                if len(words) < 3:
                    continue  # the process was killed while it wrote the line
                event, row, millis = words[0], int(words[1]), int(words[2])
                if event == "S":
                    ledger.sent[row] = millis
                elif event == "A":
                    ledger.acked[row] = millis
                else:
                    ledger.failed[row] = " ".join(words[3:])
        return ledger

    def longest_wait(self, since: int, until: int) -> float:
        """Seconds that the slowest push took of those that were under way between two moments (ms)."""
        waits = [
            self.acked[row] - sent
            for row, sent in self.sent.items()
            if row in self.acked and sent <= until and self.acked[row] >= since
        ]
        return max(waits, default=0) / 1000


def zeros(path: Path, rows: int) -> None:
    """Writes the model `once` [rows, ROW] and `sum` [ROW], all zero, as safetensors."""
    once = rows * ROW * 4
    header = {
        "once": {"dtype": "F32", "shape": [rows, ROW], "data_offsets": [0, once]},
        "sum": {"dtype": "F32", "shape": [ROW], "data_offsets": [once, once + ROW * 4]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.write(bytes(once + ROW * 4))


def tensors(path: Path) -> dict[str, tuple[float, ...]]:
    """Every f32 tensor of a safetensors file."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    values = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            values[name] = struct.unpack(f"<{(end - begin) // 4}f", data[begin:end])
    return values


def faults(ledger: Ledger, exported: Path, rows: int) -> list[str]:
    """What is wrong with the store; empty if every acknowledged push is there once, and nothing else is."""
    wrong = []
    values = tensors(exported)
    once = values["once"]
    total = 0
    for row in range(rows):
        cells = once[row * ROW : (row + 1) * ROW]
        if len(set(cells)) != 1:
            wrong.append(f"row {row} is torn: {sorted(set(cells))}")
            continue
        total += int(cells[0])
        if row in ledger.acked and cells[0] != 1:
            wrong.append(f"row {row} was acknowledged and holds {cells[0]:g} instead of 1")
        elif row in ledger.sent and cells[0] not in (0, 1):
            wrong.append(f"row {row} is in doubt and holds {cells[0]:g} instead of 0 or 1")
        elif row not in ledger.sent and cells[0] != 0:
            wrong.append(f"row {row} was never sent and holds {cells[0]:g}")
    both = set(values["sum"])
    doubt = len(ledger.sent) - len(ledger.acked)
    if len(both) != 1:
        wrong.append(f"the common row is torn: {sorted(both)[:4]}")
    elif not len(ledger.acked) <= min(both) <= len(ledger.acked) + doubt:
        wrong.append(f"the common row holds {min(both):g}: {len(ledger.acked)} acknowledged, {doubt} in doubt")
    return wrong
