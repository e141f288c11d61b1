"""The virtio measurements as tables and as JSON, with what was aimed at."""

from table import aligned

from virtio import disk as disks
from virtio.linux import Linux
from virtio.net import Net

HEAD = """4 KiB blocks at random places of one disk over virtio-mmio, microseconds each. Linux: Debian's kernel,
io_submit(2) and O_DIRECT. U-Boot: a FAT file of scattered clusters, which its prompt reads block by block."""
COUNTS = """Guest instructions of one such read, and notifications, by a device that has nothing to wait for. The
firmware's leave out its polling, but include some hundreds of the measurement for each look at the queue; Linux's are
all that it executes, without what it sleeps through. At depth 1 its timer's interrupts are a large part of them. Aim:
at the greatest depth no more than 1.5 times Linux's instructions and not more of its notifications."""
RATES = """Ethernet frames a second through virtio-net over virtio-mmio, 32 to a call; the other end is a Python process
on the same processors."""
TIMES_LINUX = 1.5
DEEPEST = disks.DEPTHS[-1]


def measure(build, inputs, firmware, uboot, say):
    """{"disk": .., "net": ..}. uboot: a function that measures U-Boot's seconds for one block."""
    folder = build / "bench" / "virtio"
    folder.mkdir(parents=True, exist_ok=True)
    found = {"disk": disks.measure(disks.Disk(firmware, Linux(build, folder), folder, inputs.raw), say)}
    say("virtio: U-Boot")
    found["disk"]["speed"]["u-boot"] = {1: min(uboot()["4K"])}
    say("virtio: frames")
    found["net"] = Net(firmware, folder).measure()
    return found


def _speed(speed):
    lines = [("in flight", "firmware", "Linux", "/Linux", "U-Boot", "/U-Boot")]
    for depth in disks.DEPTHS:
        ours, linux, uboot = (speed[name].get(depth) for name in ("ours", "linux", "u-boot"))
        cells = [f"{ours * 1e6:.1f}", f"{linux * 1e6:.1f}", f"{ours / linux:.2f}"]
        cells += [f"{uboot * 1e6:.1f}", f"{ours / uboot:.2f}"] if uboot else ["-", "-"]
        lines.append((str(depth), *cells))
    return aligned(lines)


def _counts(found):
    lines = [("", "in flight", "firmware", "Linux", "/Linux", "notifications", "Linux's")]
    for machine, counts in found["counts"].items():
        for depth in disks.DEPTHS:
            work = found["work"][machine][depth]
            told = counts["ours"][depth].notifications
            linux = counts["linux"][depth]
            cells = (f"{work:.0f}", f"{linux.instructions:.0f}", f"{work / linux.instructions:.2f}")
            lines.append((str(machine), str(depth), *cells, f"{told:.3f}", f"{linux.notifications:.3f}"))
    return aligned(lines)


def text(found):
    rates = [("bytes", "out", "in")]
    rates += [(str(size), f"{rate.out:.0f}", f"{rate.into:.0f}") for size, rate in found["net"].items()]
    parts = [HEAD, _speed(found["disk"]["speed"]), COUNTS, _counts(found["disk"]), RATES, aligned(rates)]
    return "\n\n".join(parts)


def missed(found):
    """Texts of the aims that were not met."""
    speed = found["disk"]["speed"]
    if speed["ours"][1] > speed["u-boot"][1]:
        yield "4 KiB at random, one at a time, by U-Boot"
    for machine, counts in found["disk"]["counts"].items():
        ours, linux = counts["ours"][DEEPEST], counts["linux"][DEEPEST]
        if found["disk"]["work"][machine][DEEPEST] > TIMES_LINUX * linux.instructions:
            yield f"instructions by Linux: {machine}"
        if ours.notifications > linux.notifications * 1.05:
            yield f"notifications by Linux: {machine}"


def as_json(found):
    counts = {
        str(machine): {"work": found["disk"]["work"][machine]}
        | {name: {depth: count._asdict() for depth, count in by_depth.items()} for name, by_depth in by_name.items()}
        for machine, by_name in found["disk"]["counts"].items()
    }
    net = {size: rate._asdict() for size, rate in found["net"].items()}
    return {"speed": found["disk"]["speed"], "machines": counts, "net": net}
