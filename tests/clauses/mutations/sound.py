"""virtio-sound."""

MUTATIONS = [
    (
        "SND-01",
        "virtio/sound.py",
        "for off in (0, 4, 8)]",
        "for off in (0, 4, 8, 12)]",
        "tests/host/test_sound.py::test_what_the_card_has",
    ),
    (
        "SND-03",
        "virtio/sound.py",
        "            queue.add((), (self._slots[i],), i)\n",
        "            queue.add((self._slots[i],), (), i)\n",
        "tests/host/test_sound.py::test_events",
    ),
    (
        "SND-04",
        "virtio/sound.py",
        "            count = min(_QUERY, total - first)\n",
        "            count = _QUERY\n",
        "tests/host/test_sound.py::test_many_items_are_asked_for_in_pieces",
    ),
    (
        "SND-05",
        "virtio/sound.py",
        "4 + count * size)\n            for",
        "count * size)\n            for",
        "tests/host/test_sound.py::test_what_the_card_has",
    ),
    (
        "SND-06",
        "virtio/soundpcm.py",
        "self.features & 1 << _EVT_XRUNS",
        "self.features & (1 << _EVT_XRUNS | 1)",
        "tests/host/test_sound.py::test_parameters",
    ),
    (
        "SND-08",
        "virtio/soundpcm.py",
        '"III4B", self.period * periods,',
        '"III4B", self.period * periods + 1,',
        "tests/host/test_sound.py::test_parameters",
    ),
    (
        "SND-11",
        "virtio/soundpcm.py",
        "if not self.channels[0] <= channels <= self.channels[1]:",
        "if not self.channels[0] <= channels:",
        "tests/host/test_sound.py::test_what_the_stream_cannot_do_is_refused_before_the_device_hears_of_it",
    ),
    (
        "SND-13",
        "virtio/soundpcm.py",
        "_RATES.index(rate), 0)",
        "_RATES.index(rate), 1)",
        "tests/host/test_sound.py::test_parameters",
    ),
    (
        "SND-17",
        "virtio/soundpcm.py",
        'if self.direction == "in":\n            while',
        "if False:\n            while",
        "tests/host/test_sound.py::test_what_is_recorded_is_read",
    ),
    (
        "SND-18",
        "virtio/soundpcm.py",
        "queue.add((self._header,), (samples, status), (self, i))",
        "queue.add((self._header, samples), (status,), (self, i))",
        "tests/host/test_sound.py::test_what_is_recorded_is_read",
    ),
]
