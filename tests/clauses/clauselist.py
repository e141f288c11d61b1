"""The rules of virtio 1.4 that bind a driver (clauses.tsv), and the groups that they fall into."""

import csv
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# first word of an id -> group; the groups in `REQUIRED` need a test or an argument for every MUST and MUST NOT
PREFIXES = {
    "GEN": "general",
    "SPLIT": "split",
    "PACKED": "packed",
    "ADMIN": "admin",
    "MMIO": "mmio",
    "PCI": "pci",
    "BLK": "blk",
    "NET": "net",
    "CON": "console",
    "RNG": "entropy",
    "INPUT": "input",
    "GPU": "gpu",
    "SCSI": "scsi",
}
REQUIRED = tuple(name for name in PREFIXES.values() if name != "admin")
MUSTS = ("MUST", "MUST NOT")


@dataclass(frozen=True)
class Clause:
    """One rule, in words of our own; `applies_if` and `check` are explained in tests/README.md."""

    id: str
    level: str
    section: str
    applies_if: str
    check: str
    text: str

    @property
    def group(self):
        """The conformance targets of chapter 7 (CONF-...) belong to what they are about."""
        first = self.id.split("-")[0]
        about = self.applies_if.lower() if first == "CONF" else first.lower()
        return PREFIXES.get(first, about)

    @property
    def needed(self):
        """Whether `make clauses` fails when nothing covers it."""
        return self.level in MUSTS and self.group in REQUIRED


def rows(path):
    """(line number, columns) of a TSV file without its heading, empty lines and # comments."""
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if row and not row[0].startswith("#") and row[0] != "id":
                yield number, row


def load(path=HERE / "clauses.tsv"):
    """{id: Clause} in the order of the file."""
    return {row[0]: Clause(*row) for _, row in rows(path)}
