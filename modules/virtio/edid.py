"""What a monitor tells about itself (EDID 1.3 and 1.4, the base block); pure."""

_HEADER = b"\x00\xff\xff\xff\xff\xff\xff\x00"
_BLOCK = 128


class Edid:
    """.vendor 'RHT', .product, .name, .serial, .size_cm (width, height), .modes, .preferred (w, h) or None."""

    def __init__(self, raw):
        """ValueError: too short, no EDID, or a checksum that does not fit."""
        raw = bytes(raw)
        if len(raw) < _BLOCK:
            raise ValueError("EDID of %d bytes, a block has %d" % (len(raw), _BLOCK))
        if raw[:8] != _HEADER:
            raise ValueError("not an EDID: it begins with %r" % raw[:8])
        for at in range(0, len(raw) - _BLOCK + 1, _BLOCK):
            if sum(raw[at : at + _BLOCK]) & 0xFF:
                raise ValueError("EDID block %d: the checksum does not fit" % (at // _BLOCK))
        self.raw = raw
        word = raw[8] << 8 | raw[9]
        self.vendor = "".join(chr(64 + (word >> shift & 31)) for shift in (10, 5, 0))
        self.product = raw[10] | raw[11] << 8
        self.size_cm = (raw[21], raw[22])
        self.name = self.serial = ""
        self.preferred = None
        self.modes = []
        self._read_descriptors()
        self._read_standard()

    def __repr__(self):
        mode = "%dx%d" % self.preferred if self.preferred else "no mode"
        return "<EDID %s %r %s>" % (self.vendor, self.name, mode)

    def _read_descriptors(self):
        """Four of 18 bytes: the first is the preferred mode; texts begin with three zeroes."""
        raw = self.raw
        for at in range(54, 126, 18):
            one = raw[at : at + 18]
            if one[0] or one[1]:
                mode = (one[2] | (one[4] & 0xF0) << 4, one[5] | (one[7] & 0xF0) << 4)
                if self.preferred is None:
                    self.preferred = mode
                self._add(mode)
            elif one[3] == 0xFC:
                self.name = _text(one)
            elif one[3] == 0xFF:
                self.serial = _text(one)

    def _read_standard(self):
        """Eight of two bytes: width and ratio."""
        for at in range(38, 54, 2):
            first, second = self.raw[at], self.raw[at + 1]
            if first > 1 or second > 1:
                width = (first + 31) * 8
                up, down = ((10, 16), (3, 4), (4, 5), (9, 16))[second >> 6]
                self._add((width, width * up // down))

    def _add(self, mode):
        if mode not in self.modes:
            self.modes.append(mode)


def _text(descriptor):
    return descriptor[5:].split(b"\n")[0].decode().rstrip()
