"""Every way to put a virtio device on the machine: transports, ring layouts, with or without EVENT_IDX.

    @pytest.fixture(scope="module", params=bus.variants("virtio-rng"), ids=str)
    def machine(request):
        return request.param.machine(devices=["virtio-rng"])

A Variant turns the base name of a device ("virtio-blk", as in virtio-blk-device and virtio-blk-pci) into the text
of a -device option; machine() has the other keyword arguments that the variant needs of Session.
"""

from typing import NamedTuple

TRANSPORTS = ("mmio-legacy", "mmio", "pci-legacy", "pci-transitional", "pci")
LEGACY = ("mmio-legacy", "pci-legacy")

_PCI = {
    "pci-legacy": ",disable-modern=on,disable-legacy=off",
    "pci-transitional": ",disable-modern=off,disable-legacy=off",
    "pci": ",disable-modern=off,disable-legacy=on",
}

# On virtio-mmio and PCI the same device has these names.
_MMIO_NAMES = {"virtio-serial": "virtio-serial-device", "virtio-9p": "virtio-9p-device"}

# Types that QEMU makes for the modern interface only.
MODERN_ONLY = ("virtio-gpu", "virtio-keyboard", "virtio-mouse", "virtio-tablet", "virtio-crypto", "virtio-iommu")
MODERN_ONLY += ("virtio-mem", "virtio-pmem", "virtio-sound")


class Variant(NamedTuple):
    """One row of the matrix."""

    transport: str = "mmio"
    packed: bool = False
    event_idx: bool = True

    def __str__(self):
        ring = "packed" if self.packed else "split"
        return f"{self.transport}-{ring}{'' if self.event_idx else '-noevent'}"

    @property
    def legacy(self):
        """Whether the legacy interface is used."""
        return self.transport in LEGACY

    @property
    def on_pci(self):
        return self.transport.startswith("pci")

    def name(self, device):
        """The name of QEMU's device: 'virtio-rng' -> 'virtio-rng-pci'."""
        if self.on_pci:
            return f"{device}-pci"
        return _MMIO_NAMES.get(device, f"{device}-device")

    @property
    def properties(self):
        """What follows the name of any virtio device, a comma in front."""
        text = _PCI.get(self.transport, "")
        if self.packed:
            text += ",packed=on"
        if not self.event_idx:
            text += ",event_idx=off"
        return text

    def device(self, device, **properties):
        """The text of a -device option."""
        more = "".join(f",{key.replace('_', '-')}={value}" for key, value in properties.items())
        if self.on_pci and device == "virtio-net":
            more += ",romfile="  # its boot ROM is no part of every installation
        return self.name(device) + self.properties + more

    def disk(self, path, properties="", **drive):
        """A disk for Session's disks= on this bus."""
        own = self.properties.lstrip(",")
        joined = ",".join(part for part in (own, properties) if part)
        return {"file": path, "device": self.name("virtio-blk"), "properties": joined, **drive}

    def machine(self, devices=(), extra=(), **more):
        """Session keyword arguments: devices are base names, or texts that device() made."""
        words = [word for d in devices for word in ("-device", d if "," in d or self._full(d) else self.device(d))]
        return {"legacy": self.transport == "mmio-legacy", "extra": [*extra, *words], **more}

    @staticmethod
    def _full(device):
        return device.endswith(("-device", "-pci"))


def device(name, transport="mmio", packed=False, event_idx=True, **properties):
    """The text of a -device option: device('virtio-rng', 'pci', packed=True)."""
    return Variant(transport, packed, event_idx).device(name, **properties)


def variants(name=None, full=True):
    """The Variants that QEMU offers for a type of device, for pytest's params.

    full=False: every transport and every ring once, not each with each.
    """
    transports = [t for t in TRANSPORTS if not (name in MODERN_ONLY and t in (*LEGACY, "pci-transitional"))]
    rings = [(False, True), (False, False), (True, True), (True, False)]
    if full:
        return [Variant(t, *r) for t in transports for r in rings if not (r[0] and t in LEGACY)]
    rows = [Variant(t) for t in transports]
    return rows + [Variant("mmio", False, False), Variant("pci", True, True), Variant("mmio", True, False)]
