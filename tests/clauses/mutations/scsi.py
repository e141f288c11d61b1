"""virtio-scsi."""

MUTATIONS = [
    (
        "SCSI-04",
        "virtio/scsi.py",
        "        self.max_lun = read(32)\n",
        "        self.max_lun = read(32)\n        self.transport.set_config(12, 4, 128)\n",
        "tests/host/test_scsi.py::test_all_units_are_found_and_described",
    ),
    (
        "SCSI-05",
        "virtio/scsicommand.py",
        "        if place.in_flight >= self.depth:\n",
        "        if place.in_flight >= 64:\n",
        "tests/host/test_scsi.py::test_many_commands_are_under_way_but_never_more_than_a_unit_may_have",
    ),
    (
        "SCSI-11",
        "virtio/scsicommand.py",
        "lun | 0x4000, 0)",
        "lun, 0)",
        "tests/host/test_scsi.py::test_all_units_are_found_and_described",
    ),
    (
        "SCSI-12",
        "virtio/scsicommand.py",
        "        head[19 : 19 + len(cdb)] = cdb\n",
        "        head[16] = 2\n        head[19 : 19 + len(cdb)] = cdb\n",
        "tests/host/test_scsi.py::test_all_units_are_found_and_described",
    ),
    (
        "SCSI-14",
        "virtio/scsi.py",
        "            self._post(buf)\n            if event",
        "            if event",
        "tests/host/test_scsi.py::test_event_buffers_are_posted_and_posted_again",
    ),
    (
        "SCSI-15",
        "virtio/scsi.py",
        "        self.eventq.add((), (buf,), buf)\n",
        "        self.eventq.add((buf,), (), buf)\n",
        "tests/host/test_scsi.py::test_event_buffers_are_posted_and_posted_again",
    ),
    (
        "SCSI-17",
        "virtio/scsi.py",
        "max(_EVENT_SIZE, self.event_info_size)",
        "max(8, self.event_info_size)",
        "tests/host/test_scsi.py::test_event_buffers_are_posted_and_posted_again",
    ),
    (
        "SCSI-20",
        "virtio/scsi.py",
        "                self.scan(target)  #",
        "                pass  #",
        "tests/host/test_scsi.py::test_units_that_come_and_go",
    ),
    (
        "SCSI-LEG-04",
        "virtio/scsi.py",
        '        request = struct.pack("<II8sQ", 0, _TMF[what], address(target, lun), number)\n',
        '        request = struct.pack(">II8sQ", 0, _TMF[what], address(target, lun), number)\n',
        "tests/host/test_scsi.py::test_task_management_and_asynchronous_notifications",
    ),
    (
        "SCSI-LEG-06",
        "virtio/scsicommand.py",
        "        readable = (head,) if out is None else (head, out)\n",
        "        readable = (head[:19], head[19:]) if out is None else (head, out)\n",
        "tests/host/test_scsi.py::test_all_units_are_found_and_described",
    ),
    (
        "SCSI-LEG-07",
        "virtio/scsicommand.py",
        "        writable = (command.resp,) if into is None else (command.resp, into)\n",
        "        halves = memoryview(command.resp)\n"
        "        writable = (halves[:12], halves[12:]) if into is None else (command.resp, into)\n",
        "tests/host/test_scsi.py::test_all_units_are_found_and_described",
    ),
]
