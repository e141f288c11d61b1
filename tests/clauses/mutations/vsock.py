"""virtio-vsock."""

MUTATIONS = [
    (
        "VSOCK-04",
        "virtio/vsock.py",
        "        while len(self._answers) < _ANSWERS:\n",
        "        while not self._answers:\n",
        "tests/host/test_vsock.py::test_packets_are_received_while_nothing_can_be_sent",
    ),
    (
        "VSOCK-05",
        "virtio/vsockstream.py",
        "min(len(view) - done, self.credit, self._device.most)",
        "min(len(view) - done, self._device.most)",
        "tests/host/test_vsock.py::test_a_writer_stops_at_the_peers_credit_and_asks_for_more",
    ),
    (
        "VSOCK-06",
        "virtio/vsockstream.py",
        "_TYPE_STREAM, op, flags, _ROOM, self._fwd_cnt)",
        "_TYPE_STREAM, op, flags, _ROOM, self._rx_cnt + 1)",
        "tests/host/test_vsock.py::test_the_peer_is_told_what_was_read",
    ),
    (
        "VSOCK-07",
        "virtio/vsock.py",
        "struct.pack(_HEADER, self.cid, *header)",
        "struct.pack(_HEADER, 3, *header)",
        "tests/host/test_vsock.py::test_a_stream_echoes_on_every_transport",
    ),
    (
        "VSOCK-08",
        "virtio/vsock.py",
        "        if dst != self.cid or kind != _TYPE_STREAM:\n",
        "        if dst != self.cid:\n",
        "tests/host/test_vsock.py::test_packets_for_nobody_are_answered_by_rst",
    ),
    (
        "VSOCK-10",
        "virtio/vsock.py",
        "        self.cid = self.config_u64(_GUEST_CID)\n        self._answers = []\n",
        "        self._answers = []\n",
        "tests/host/test_vsock.py::test_after_a_transport_reset_listeners_are_left_under_the_new_cid",
    ),
    (
        "VSOCK-11",
        "virtio/vsock.py",
        '            stream.end(errno.ECONNRESET, "the transport was reset")\n',
        "            pass\n",
        "tests/host/test_vsock.py::test_after_a_transport_reset_listeners_are_left_under_the_new_cid",
    ),
    (
        "VSOCK-12",
        "virtio/vsock.py",
        "        self._answers = []\n        for stream",
        "        self._answers = []\n        self._listeners = {}\n        for stream",
        "tests/host/test_vsock.py::test_after_a_transport_reset_listeners_are_left_under_the_new_cid",
    ),
]
