"""A strict virtio-iommu device, on top of fake_device.py: it keeps the address spaces that it was told."""

import struct

from fake_device import FakeDevice, require

INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, BYPASS, PROBE, MMIO, BYPASS_CONFIG = range(7)
ALL = sum(1 << bit for bit in (INPUT_RANGE, DOMAIN_RANGE, MAP_UNMAP, PROBE, MMIO, BYPASS_CONFIG))
OK, IOERR, UNSUPP, DEVERR, INVAL, RANGE, NOENT, FAULT, NOMEM = range(9)
SIZES = {1: 20, 2: 20, 3: 36, 4: 28, 5: 72}


def property_(kind, value, size=None):
    return struct.pack("<HH", kind, len(value) if size is None else size) + value


def resv_mem(subtype, start, last, reserved=b"\0\0\0"):
    return property_(1, struct.pack("<B3sQQ", subtype, reserved, start, last))


class FakeIOMMU(FakeDevice):
    DEVICE_ID = 23

    def __init__(self, features=ALL, page=4096, inputs=(0, 1 << 40), domains=(3, 6), **options):
        self.FIELDS = {off: (4, None) for off in (0, 4)}
        for bit, offs in ((INPUT_RANGE, (8, 12, 16, 20)), (DOMAIN_RANGE, (24, 28)), (PROBE, (32,))):
            self.FIELDS |= {off: (4, bit) for off in offs}
        self.FIELDS[36] = (1, BYPASS_CONFIG)
        self.inputs, self.domain_range = inputs, domains
        config = struct.pack("<QQQIIIB3x", -page & (1 << 64) - 1, *inputs, *domains, 256, 1)
        super().__init__(features=features, config=config, queues=(64, 16), **options)
        self.endpoints = {8: b"", 16: b""}  # number -> properties
        self.attached = {}  # endpoint -> domain
        self.domains = {}  # number -> (bypass, {first: (last, phys, flags)})
        self.probed = set()
        self.status_of = None  # type of request -> status, to lie
        self.cut = False  # answers have no bytes
        self.noise = 0  # in reserved bytes of the tail

    def _clear(self):
        super()._clear()
        self.attached, self.domains, self.probed = {}, {}, set()

    def write_config(self, off, width, value):
        require(off == 36, "IOMMU-03", "configuration offset %d written" % off)
        require(value in (0, 1), "IOMMU-04", "bypass %d" % value)
        super().write_config(off, width, value)

    def work(self, queue):
        if queue.index == 0:
            super().work(queue)

    def process(self, queue, chain):
        data = chain.data()
        kind = data[0]
        require(not any(data[1:4]), "IOMMU-08", data[:4].hex())
        require(len(data) == SIZES.get(kind), "IOMMU-06", "%d bytes of request %d" % (len(data), kind))
        room = struct.unpack_from("<I", self.config, 32)[0] if kind == 5 else 0
        require(chain.room == room + 4, "IOMMU-31", "room for %d" % chain.room)
        status, found = getattr(self, "_" + ("attach", "detach", "map", "unmap", "probe")[kind - 1])(data[4:])
        if self.status_of is not None:
            status = self.status_of(kind)
        if self.cut:
            return 0
        chain.write(found.ljust(room, b"\0") + bytes([status, self.noise, self.noise, 0]))
        return chain.room

    def _check_domain(self, domain):
        first, last = self.domain_range if self.has(DOMAIN_RANGE) else (0, 0xFFFFFFFF)
        require(first <= domain <= last, "IOMMU-12", "domain %d" % domain)

    def _attach(self, data):
        domain, endpoint, flags, reserved = struct.unpack("<IIII", data)
        require(reserved == 0 and flags < 2, "IOMMU-13", data.hex())
        self._check_domain(domain)
        if endpoint not in self.endpoints:
            return NOENT, b""
        require(endpoint in self.probed or not self.has(PROBE), "IOMMU-07", "endpoint %d" % endpoint)
        if domain in self.domains:
            bypass = self.domains[domain][0]
            require(bypass == flags, "IOMMU-15" if bypass else "IOMMU-16", "flags %d" % flags)
        self._detached(endpoint)
        self.domains.setdefault(domain, (flags, {}))
        self.attached[endpoint] = domain
        return OK, b""

    def _detached(self, endpoint):
        old = self.attached.pop(endpoint, None)
        if old is not None and old not in self.attached.values():
            del self.domains[old]

    def _detach(self, data):
        domain, endpoint, *reserved = struct.unpack("<IIII", data)
        require(not any(reserved), "IOMMU-17", data.hex())
        require(self.attached.get(endpoint) == domain, "IOMMU-12", "endpoint %d is elsewhere" % endpoint)
        self._detached(endpoint)
        return OK, b""

    def _space(self, domain, clause, *addresses):
        self._check_domain(domain)
        require(domain in self.domains, "IOMMU-12", "domain %d does not exist" % domain)
        require(not self.domains[domain][0], clause, "domain %d bypasses" % domain)
        first, last = self.inputs if self.has(INPUT_RANGE) else (0, (1 << 64) - 1)
        require(all(first <= at <= last for at in addresses), "IOMMU-11", str(addresses))
        return self.domains[domain][1]

    def _map(self, data):
        domain, first, last, phys, flags = struct.unpack("<IQQQI", data)
        require(last > first, "IOMMU-20", "%#x to %#x" % (first, last))
        space = self._space(domain, "IOMMU-19", first, last)
        require(flags < 8, "IOMMU-18", "flags %#x" % flags)
        require(not flags & 4 or self.has(MMIO), "IOMMU-24", "flags %#x" % flags)
        for endpoint, where in self.attached.items():
            for low, high in self.regions(endpoint) if where == domain else ():
                require(last < low or first > high, "IOMMU-37", "%#x to %#x is reserved" % (low, high))
        if any(first <= end and start <= last for start, (end, _, _) in space.items()):
            return INVAL, b""
        space[first] = (last, phys, flags)
        return OK, b""

    def _unmap(self, data):
        domain, first, last, reserved = struct.unpack("<IQQI", data)
        require(reserved == 0, "IOMMU-25", data.hex())
        space = self._space(domain, "IOMMU-30", first, last)
        for start, (end, _, _) in list(space.items()):
            if first <= end and start <= last:
                require(first <= start, "IOMMU-28", "%#x splits %#x" % (first, start))
                require(end <= last, "IOMMU-29", "%#x splits %#x" % (last, start))
                del space[start]
        return OK, b""

    def _probe(self, data):
        endpoint = struct.unpack_from("<I", data)[0]
        require(not any(data[4:]), "IOMMU-32", data.hex())
        self.probed.add(endpoint)
        return (OK, self.endpoints[endpoint]) if endpoint in self.endpoints else (NOENT, b"")

    def regions(self, endpoint):
        """What an endpoint's own properties reserve."""
        data, at = self.endpoints[endpoint], 0
        while at + 4 <= len(data):
            kind, size = struct.unpack_from("<HH", data, at)
            if kind == 1:
                yield struct.unpack_from("<QQ", data, at + 8)
            at += 4 + size

    def reach(self, endpoint, address, access):
        """What an endpoint sees at an address: the physical one, or None and a fault is reported."""
        domain = self.attached.get(endpoint)
        if domain is None or self.domains[domain][0]:
            if domain is not None or self.config[36] & 1:
                return address
            self.fault(1, 0x100 | access, endpoint, address)
            return None
        for first, (last, phys, flags) in self.domains[domain][1].items():
            if first <= address <= last and flags & access == access:
                return phys + address - first
        self.fault(2, 0x100 | access, endpoint, address)
        return None

    def fault(self, reason, flags, endpoint, address, reserved=b"\0\0\0", reserved1=0, size=24):
        queue = self.queues[1]
        queue.fetch()
        require(queue.held, "IOMMU-40", "no buffer for a fault")
        data = struct.pack("<B3sIIIQ", reason, reserved, flags, endpoint, reserved1, address)
        queue.held[0].write(data[:size])
        queue.finish(queue.held[0], size)
