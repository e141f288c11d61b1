"""How a devicetree is shown: as devicetree source (dtc reads it back), or one line per node."""

_INDENT = "    "


def quote(text):
    """Text between double quotes, with what dtc and a terminal would misread escaped."""
    out = ""
    for char in text:
        if char in '"\\':
            out += "\\" + char
        elif " " <= char <= "~":
            out += char
        else:
            out += "\\x%02x" % ord(char)
    return '"' + out + '"'


def _is_strings(data):
    # One or more non-empty printable strings, each with its zero byte.
    if not data or data[-1] or not data[0]:
        return False
    last = 1
    for byte in data:
        if not (32 <= byte < 127 or (byte == 0 and last)):
            return False
        last = byte
    return True


def value(data):
    """A property's bytes as devicetree source: strings, cells in hex, or bytes; '' when empty."""
    data = bytes(data)
    if not data:
        return ""
    if _is_strings(data):
        return ", ".join(quote(str(part, "utf-8")) for part in data[:-1].split(b"\0"))
    if len(data) % 4:
        return "[" + " ".join("%02x" % byte for byte in data) + "]"
    cells = (int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4))
    return "<" + " ".join("0x%x" % cell for cell in cells) + ">"


def _line(node, name):
    text = value(node[name])
    return "%s = %s;" % (name, text) if text else name + ";"


def dump(node, deep=True):
    """Print a node as devicetree source; without its children when not deep."""
    if not node.parent and deep:
        print("/dts-v1/;\n")
        for addr, size in node.fdt.memreserve():
            print("/memreserve/ 0x%x 0x%x;" % (addr, size))
    stack = [(node, "")]
    while stack:
        node, indent = stack.pop()
        if node is None:
            print(indent + "};")
            continue
        print("%s%s {" % (indent, node.name))
        for name in node.props():
            print(indent + _INDENT + _line(node, name))
        stack.append((None, indent))
        if deep:
            stack.extend((child, indent + _INDENT) for child in reversed(node.children()))


def tree(node):
    """Print a node and all below it, one line each: name, compatible, registers, status."""
    stack = [(node, "")]
    while stack:
        node, indent = stack.pop()
        text = indent + node.name
        if "compatible" in node:
            text += "  " + value(node["compatible"])
        for addr, size in _regs(node):
            text += "  0x%x" % addr + ("+0x%x" % size if size else "")
        print(text if node.enabled else text + "  disabled")
        stack.extend((child, indent + "  ") for child in reversed(node.children()))


def _regs(node):
    # A tree with a bad reg must still be shown.
    try:
        return node.regs()
    except ValueError:
        return ()
