"""Where the interrupt pins of PCI lead to: swizzled over bridges, then the interrupt-map."""

import errno

import irq


def source(function):
    """(interrupt number, controller Node) of a function's pin. OSError(ENODEV): there is no way."""
    pin = function.pin
    if not 1 <= pin <= 4:
        raise OSError(errno.ENODEV, "PCI %s has no interrupt pin" % function.name)
    while function.bridge is not None:  # each slot turns the four pins by one
        pin = (pin - 1 + function.slot) % 4 + 1
        function = function.bridge
    return _lookup(function.host.node, function, pin)


def _lookup(node, function, pin):
    """Find the entry of interrupt-map that fits a function on the root bus."""
    if "interrupt-map" not in node:
        raise OSError(errno.ENODEV, "%s has no interrupt-map" % node.path)
    wanted = (function.address << 8, 0, 0, pin)
    mask = node.cells("interrupt-map-mask") if "interrupt-map-mask" in node else (0xFFFFFFFF,) * 4
    for child, controller, cells in _entries(node):
        if all([(a ^ b) & m == 0 for a, b, m in zip(child, wanted, mask)]):
            if not irq.route((controller, cells))[0]:
                raise OSError(errno.ENODEV, "PCI %s interrupts other harts" % function.name)
            return cells[0], controller
    raise OSError(errno.ENODEV, "PCI %s: INT%s# is not in the interrupt-map" % (function.name, "ABCD"[pin - 1]))


def _entries(node):
    """(child address and pin, controller, its interrupt cells) for each entry of interrupt-map."""
    cells = node.cells("interrupt-map")
    at = 0
    while at + 5 <= len(cells):
        child = cells[at : at + 4]
        controller = node.fdt.phandle(cells[at + 4])
        at += 5
        if "#address-cells" in controller:
            at += controller.u32("#address-cells")
        n = controller.u32("#interrupt-cells")
        if not n or at + n > len(cells):
            return
        yield child, controller, cells[at : at + n]
        at += n
