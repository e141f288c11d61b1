"""The control queue of a network card (5.1.9.6): filters, MAC, VLANs, announcement, pairs, offloads, hashing."""

import errno
import struct

from micropython import const

_F_CTRL_GUEST_OFFLOADS = const(2)
_F_CTRL_VQ = const(17)
_F_CTRL_RX = const(18)
_F_CTRL_VLAN = const(19)
_F_CTRL_RX_EXTRA = const(20)
_F_GUEST_ANNOUNCE = const(21)
_F_MQ = const(22)
_F_CTRL_MAC_ADDR = const(23)
_F_HASH_REPORT = const(57)
_F_RSS = const(60)

_RX = const(0)
_MAC = const(1)
_VLAN = const(2)
_ANNOUNCE = const(3)
_MQ = const(4)
_GUEST_OFFLOADS = const(5)

_ACK_OK = const(0)
_ACK_ERR = const(1)
_NO_ACK = const(0xFF)

_RSS_MAX_KEY_SIZE = const(17)
_RSS_MAX_INDIRECTION = const(18)
_SUPPORTED_HASH_TYPES = const(20)

_RX_MODES = ("promisc", "allmulti", "alluni", "nomulti", "nouni", "nobcast")  # by command number
_OFFLOADS = {"csum": 1, "tso4": 7, "tso6": 8, "ecn": 9, "ufo": 10, "uso4": 54, "uso6": 55}
# Hash types by bit (5.1.9.4.3.1); "ex" takes addresses from IPv6 extension headers.
_HASHES = ("ip4", "tcp4", "udp4", "ip6", "tcp6", "udp6", "ip6ex", "tcp6ex", "udp6ex")
# The key of Microsoft's test vectors for this hash, as good as any.
_KEY = (
    b"\x6d\x5a\x56\xda\x25\x5b\x0e\xc2\x41\x67\x25\x3d\x43\xa3\x8f\xb0\xd0\xca\x2b\xcb"
    b"\xae\x7b\x30\xb4\x77\xcb\x2d\xa3\x80\x30\xf2\x0c\x6a\x42\xb7\x3b\xbe\xac\x01\xfa"
)


class Control:
    """net.ctrl: what is asked of the card itself. Each call waits for the answer.

    OSError: EOPNOTSUPP without the feature, EIO when the card says no, ETIMEDOUT. Settings last
    until the card is closed.
    """

    def __init__(self, net, queue):
        """queue: the control queue, None without CTRL_VQ."""
        self._net = net
        self._queue = queue
        self.settings = {}  # what was set -> (function's name, arguments), for replay()

    # -- commands ------------------------------------------------------------------------

    def _post(self, kind, command, data):
        # Class and command, data and answer have a descriptor each, as old devices want it (5.1.9.6.6).
        ack = bytearray(1)
        ack[0] = _NO_ACK
        head = self._queue.add((bytes((kind, command)),) + data, (ack,))
        self._queue.notify()
        return head, ack

    def _need(self, bit, what):
        net = self._net
        net.check()
        if not net.has(bit):
            raise OSError(errno.EOPNOTSUPP, "%s: %s: %s is not negotiated" % (net.name, what, net.FEATURE_NAMES[bit]))

    def _command(self, what, kind, command, *data, timeout_ms=1000):
        head, ack = self._post(kind, command, data)
        self._queue.wait(head, timeout_ms)
        if ack[0] != _ACK_OK:
            why = {_ACK_ERR: "refused", _NO_ACK: "not answered"}.get(ack[0], "answer %d" % ack[0])
            raise OSError(errno.EIO, "%s: %s: %s" % (self._net.name, what, why))

    def replay(self, settings):
        """Set again what was set on a card that has been reset since."""
        for key in sorted(settings):  # pairs come before rss, which names them
            name, args, modes = settings[key]
            getattr(self, name)(*args, **modes)

    def _keep(self, key, name, *args, **modes):
        self.settings[key] = (name, args, modes)

    # -- which frames come in ----------------------------------------------------------------

    def rx_mode(self, **modes):
        """Switch receive modes: promisc, allmulti, and alluni, nomulti, nouni, nobcast (5.1.9.6.1)."""
        for name in modes:
            if name not in _RX_MODES:
                raise ValueError("no receive mode %s; there are %s" % (name, " ".join(_RX_MODES)))
            self._need(_F_CTRL_RX if _RX_MODES.index(name) < 2 else _F_CTRL_RX_EXTRA, name)
        for name in modes:
            on = b"\1" if modes[name] else b"\0"
            self._command("%s %d" % (name, on[0]), _RX, _RX_MODES.index(name), on)
            self._keep(name, "rx_mode", **{name: modes[name]})

    def set_mac(self, mac):
        """Give the card another station address. Legacy without CTRL_MAC_ADDR: by its configuration."""
        mac = _address(mac)
        net = self._net
        if net.transport.legacy and not net.has(_F_CTRL_MAC_ADDR) and net.has(5):
            net.check()
            for i in range(6):
                net.transport.set_config(i, 1, mac[i])
        else:
            self._need(_F_CTRL_MAC_ADDR, "set_mac")
            self._command("set_mac", _MAC, 1, mac)
        net.mac = mac
        self._keep("mac", "set_mac", mac)

    def mac_table(self, unicast=(), multicast=()):
        """Receive frames to these addresses too (and no others, once promisc is off)."""
        self._need(_F_CTRL_RX, "mac_table")
        tables = [struct.pack("<I", len(t)) + b"".join([_address(m) for m in t]) for t in (unicast, multicast)]
        self._command("mac_table", _MAC, 0, *tables)
        self._keep("table", "mac_table", unicast, multicast)

    def vlan_add(self, number):
        """Receive frames of this VLAN; with the first one, tagged frames of others are filtered out."""
        self._vlan("vlan_add", 0, number)

    def vlan_remove(self, number):
        """No more frames of this VLAN."""
        self._vlan("vlan_remove", 1, number)

    def _vlan(self, what, command, number):
        if not 0 <= number < 4096:
            raise ValueError("VLAN %d: 0 to 4095 exist" % number)
        self._need(_F_CTRL_VLAN, what)
        self._command("%s %d" % (what, number), _VLAN, command, struct.pack("<H", number))
        self._keep("vlan%04d" % number, what, number)

    # -- announcement -------------------------------------------------------------------------

    def acknowledge_announce(self):
        """Tell the device that the station was announced. Does not wait: may run in a callback."""
        head, _ = self._post(_ANNOUNCE, 0, ())
        try:
            self._queue.wait(head, 0)
        except OSError:
            pass  # answered later; the queue keeps the memory until then

    # -- pairs of queues -------------------------------------------------------------------------

    def pairs(self, count):
        """Use this many pairs of queues (5.1.9.6.5): receive from all, send on any of them."""
        net = self._net
        if not 1 <= count <= net.pairs_ready:
            raise ValueError("%s: %d pairs of queues, 1 to %d are set up" % (net.name, count, net.pairs_ready))
        self._need(_F_MQ, "pairs")
        net.before_pairs(count)
        self._command("pairs %d" % count, _MQ, 0, struct.pack("<H", count))
        net.use_pairs(count)
        self._keep("pairs", "pairs", count)

    # -- offloads of what comes in -----------------------------------------------------------------

    def offloads(self, *names):
        """Let the card do exactly these for received frames: csum tso4 tso6 ecn ufo uso4 uso6."""
        bits = 0
        for name in names:
            bit = _OFFLOADS.get(name)
            if bit is None:
                raise ValueError("no offload %s; there are %s" % (name, " ".join(sorted(_OFFLOADS))))
            if not self._net.has(bit):
                raise ValueError("%s: %s is not negotiated" % (self._net.name, name))
            bits |= 1 << bit
        self._need(_F_CTRL_GUEST_OFFLOADS, "offloads")
        self._command("offloads", _GUEST_OFFLOADS, 0, struct.pack("<Q", bits))
        self._keep("offloads", "offloads", *names)

    # -- hashes --------------------------------------------------------------------------------------

    def hash_types(self):
        """The names of the hashes that the card can compute; () without RSS and HASH_REPORT."""
        net = self._net
        if not net.has(_F_RSS) and not net.has(_F_HASH_REPORT):
            return ()
        bits = net.config_u32(_SUPPORTED_HASH_TYPES)
        return tuple(name for i, name in enumerate(_HASHES) if bits >> i & 1)

    def _hash_bits(self, types):
        can = self.hash_types()
        for name in types:
            if name not in can:
                raise ValueError("%s: no hash %s; there are %s" % (self._net.name, name, " ".join(can)))
        return sum([1 << _HASHES.index(name) for name in types])

    def _key(self, key):
        most = self._net.config_u8(_RSS_MAX_KEY_SIZE)
        key = _KEY[:most] if key is None else bytes(key)
        if len(key) > most:
            raise ValueError("%s: a key of %d bytes, %d at most" % (self._net.name, len(key), most))
        return bytes((len(key),)) + key

    def rss(self, types, table=None, unclassified=0, key=None):
        """Choose the receive queue by hash (5.1.9.6.5.5): table[hash & (len(table) - 1)] is a pair's number.

        types: of hash_types(). table: default one entry a pair in use, rounded up to a power of two.
        """
        self._need(_F_RSS, "rss")
        net = self._net
        pairs = net.pairs_used
        if table is None:
            table = [i % pairs for i in range(1 << (pairs - 1).bit_length() if pairs > 1 else 1)]
        n = len(table)
        if n == 0 or n & (n - 1) or n > net.config_u16(_RSS_MAX_INDIRECTION):
            raise ValueError("%s: a table of %d; a power of two fits" % (net.name, n))
        for i in list(table) + [unclassified]:
            if not 0 <= i < pairs:
                raise ValueError("%s: queue %d in the table, %d in use" % (net.name, i, pairs))
        data = struct.pack("<IHH", self._hash_bits(types), n - 1, unclassified)
        data += b"".join([struct.pack("<H", i) for i in table]) + struct.pack("<H", pairs)
        self._command("rss", _MQ, 1, data + self._key(key))
        self._keep("rss", "rss", types, table, unclassified, key)

    def hash_report(self, types, key=None):
        """Have these hashes reported with each frame (Packet.hash)."""
        self._need(_F_HASH_REPORT, "hash_report")
        data = struct.pack("<I4H", self._hash_bits(types), 0, 0, 0, 0)
        self._command("hash_report", _MQ, 2, data + self._key(key))
        self._keep("hash", "hash_report", types, key)


def _address(mac):
    mac = bytes(mac)
    if len(mac) != 6:
        raise ValueError("a MAC address of %d bytes" % len(mac))
    return mac
