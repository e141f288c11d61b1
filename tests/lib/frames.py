"""Ethernet frames for tests: made, taken apart and summed."""

import struct


def total(data):
    """The ones' complement sum of data."""
    data = bytes(data) + bytes(len(data) % 2)
    value = sum(struct.unpack(">%dH" % (len(data) // 2), data))
    while value >> 16:
        value = (value & 0xFFFF) + (value >> 16)
    return value


def layers(frame):
    """(pseudo-header's sum, transport header, its checksum's offset, end of headers, TCP flags), or None."""
    kind, at = struct.unpack_from(">H", frame, 12)[0], 14
    while kind in (0x8100, 0x88A8):
        kind, at = struct.unpack_from(">H", frame, at + 2)[0], at + 4
    if kind == 0x0800 and frame[at] == 0x45:
        protocol, addresses, l4 = frame[at + 9], frame[at + 12 : at + 20], at + 20
        size = struct.unpack_from(">H", frame, at + 2)[0] - 20
    elif kind == 0x86DD and frame[at] >> 4 == 6:
        protocol, addresses, l4 = frame[at + 6], frame[at + 8 : at + 40], at + 40
        size = struct.unpack_from(">H", frame, at + 4)[0]
    else:
        return None
    if protocol not in (6, 17):
        return None
    pseudo = total(bytes(addresses) + struct.pack(">HH", protocol, size))
    if protocol == 6:
        return pseudo, l4, 16, l4 + (frame[l4 + 12] >> 4) * 4, frame[l4 + 13]
    return pseudo, l4, 6, l4 + 8, 0


def frame(n, size=60):
    return bytes.fromhex("525400123456525400abcdef88b5") + bytes([n & 0xFF]) * (size - 14)


def ip_frame(payload, protocol=6, family=4, vlan=False, flags=0x10, finish=True):
    """A TCP or UDP frame; finish: with the right transport checksum, else zero there."""
    if protocol == 6:
        segment = struct.pack(">HHIIBBHHH", 1000, 80, 1, 2, 0x50, flags, 8192, 0, 0) + payload
    else:
        segment = struct.pack(">HHHH", 1000, 80, 8 + len(payload), 0) + payload
    if family == 4:
        ip = struct.pack(">BBHHHBBH", 0x45, 0, (20 + len(segment)) & 0xFFFF, 1, 0, 64, protocol, 0) + bytes(range(8))
        ip = ip[:10] + struct.pack(">H", ~total(ip) & 0xFFFF) + ip[12:]
    else:
        ip = struct.pack(">IHBB", 6 << 28, len(segment) & 0xFFFF, protocol, 64) + bytes(range(32))
    tag = b"\x81\0\0\5" if vlan else b""
    data = frame(0)[:12] + tag + (b"\x08\0" if family == 4 else b"\x86\xdd") + ip + segment
    if finish:
        pseudo, l4, at, _, _ = layers(data)
        value = total(struct.pack(">H", pseudo) + data[l4:]) ^ 0xFFFF or 0xFFFF
        data = data[: l4 + at] + struct.pack(">H", value) + data[l4 + at + 2 :]
    return data
