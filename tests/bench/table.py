"""What was measured as a table: medians, ratios, aims."""

from statistics import median
from typing import NamedTuple


class Row(NamedTuple):
    """One line. limit: the contender that shows what the machine allows. aim: (against, greatest ratio)."""

    key: str
    text: str
    unit: str = "ms"
    limit: str = "bare"
    aim: tuple = ()
    rival: str = ""  # the key whose U-Boot figure stands in this row, if not its own


ROWS = (
    Row("first byte", "start to first byte"),
    Row("prompt", "start to prompt", aim=("u-boot", 0.4)),
    Row("kernel entry", "start to kernel entry", limit="direct", aim=("limit", 1.3)),
    Row("Linux version", 'start to "Linux version"', limit="direct", aim=("limit", 1.3)),
    Row("64M", "64 MiB in one request", aim=("limit", 1.1)),
    Row("1M", "1 MiB, one at a time", "us"),
    Row("64K", "64 KiB, one at a time", "us"),
    Row("64K-many", "64 KiB, 128 in flight", "us", rival="64K"),
    Row("4K", "4 KiB, one at a time", "us", aim=("u-boot", 1.0)),
    Row("4K-many", "4 KiB, 128 in flight", "us", aim=("u-boot", 0.1), rival="4K"),
    Row("ext4", "64 MiB file from ext4", aim=("u-boot", 1.0)),
    Row("fat", "64 MiB file from FAT", aim=("u-boot", 1.0)),
    Row("instructions to kernel entry", "instructions to kernel entry", "million", limit="direct"),
    Row("instructions 4K", "instructions per 4 KiB, one at a time", ""),
    Row("instructions 4K-32", "instructions per 4 KiB, 32 in flight", ""),
)
SCALE = {"ms": 1e3, "us": 1e6, "million": 1e-6, "": 1}


def _middle(figures, contender, key):
    values = figures.get(contender, {}).get(key)
    return median(values) if values else None


def results(figures):
    """A dictionary for each row: medians, ratios, and whether the aim was met (None without one)."""
    table = []
    for row in ROWS:
        ours = _middle(figures, "ours", row.key)
        limit = _middle(figures, row.limit, row.key)
        uboot = _middle(figures, "u-boot", row.rival or row.key)
        ratios = {"limit": ours / limit if ours and limit else None, "u-boot": ours / uboot if ours and uboot else None}
        met = None
        if row.aim and ratios[row.aim[0]] is not None:
            met = ratios[row.aim[0]] <= row.aim[1]
        table.append({"row": row, "ours": ours, "limit": limit, "u-boot": uboot, "ratios": ratios, "met": met})
    return table


def _figure(value, unit):
    if value is None:
        return "-"
    value *= SCALE[unit]
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value):
    return "-" if value is None else f"{value:.2f}"


def aligned(lines, left=(0,)):
    """Rows of text as a table; the columns numbered in `left` start at the same place, the others end there."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i in left else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def text(figures):
    """The table as lines for a terminal."""
    entries = [e for e in results(figures) if any(e[name] is not None for name in ("ours", "limit", "u-boot"))]
    lines = [("", "", "firmware", "limit", "U-Boot", "/limit", "/U-Boot", "aim", "")]
    for entry in entries:
        row, ratios = entry["row"], entry["ratios"]
        aim = f"{row.aim[1]:g} {'U-Boot' if row.aim[0] == 'u-boot' else row.limit}" if row.aim else ""
        verdict = {None: "", True: "met", False: "MISSED"}[entry["met"]]
        cells = (_figure(entry[name], row.unit) for name in ("ours", "limit", "u-boot"))
        lines.append((row.text, row.unit, *cells, _ratio(ratios["limit"]), _ratio(ratios["u-boot"]), aim, verdict))
    return aligned(lines, (0, 1, 7, 8))


def as_json(figures):
    """The same for a file: medians, ratios and every single value, in seconds or instructions."""
    rows = {}
    for entry in results(figures):
        row = entry["row"]
        rows[row.key] = {
            "text": row.text,
            "median": {name: entry[name] for name in ("ours", "limit", "u-boot")},
            "limit": row.limit,
            "ratio": entry["ratios"],
            "aim": {"against": row.aim[0], "ratio": row.aim[1], "met": entry["met"]} if row.aim else None,
        }
    return {"rows": rows, "values": figures}
