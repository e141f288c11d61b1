"""Parse extlinux.conf (syslinux' language, as far as U-Boot's sysboot knows it). Pure.

Known words: default, timeout (tenths of a second), prompt, menu title / label / default / include,
include, label, kernel / linux, initrd, append, fdt / devicetree, fdtdir / devicetreedir, text help.
What else a file says is passed over, except words that would change what is started.
"""

from errno import ENOENT

from micropython import const

_MAX_DEPTH = const(8)
_MAX_LABELS = const(256)

# Words of a label that cannot be passed over.
_REFUSED = ("fdtoverlays", "devicetree-overlay", "localboot", "pxe", "com32", "boot", "bss", "fit")


class Label:
    """One thing to boot: name, text (for the menu), kernel, initrd (list), append, fdt, fdtdir."""

    def __init__(self, name):
        self.name = name
        self.text = name
        self.kernel = None
        self.initrd = []
        self.append = None
        self.fdt = None
        self.fdtdir = None
        self.refused = None

    def __repr__(self):
        return "<label %s: %s>" % (self.name, self.kernel)


class Config:
    """A parsed file: labels, default (a name or None), timeout in tenths of a second, prompt, title."""

    def __init__(self, name):
        self.name = name
        self.labels = []
        self.default = None
        self.timeout = 0
        self.prompt = 0
        self.title = None
        self.append = None

    def __repr__(self):
        return "<%s: %s>" % (self.name, ", ".join([label.name for label in self.labels]))

    def label(self, name=None):
        """The Label of that name or number (from 1); without one the default. OSError ENOENT."""
        if name is None:
            name = self.default
            if name is None and self.labels:
                return self.labels[0]
        for label in self.labels:
            if label.name == name or label.text == name:
                return label
        if name and str(name).isdigit() and 0 < int(name) <= len(self.labels):
            return self.labels[int(name) - 1]
        names = ", ".join([label.name for label in self.labels])
        raise OSError(ENOENT, "%s: no label %s, only: %s" % (self.name, name, names or "none at all"))


def parse(text, name="extlinux.conf", read=None):
    """Parse a file's text. read(path) -> text brings included files. ValueError: file, line and why."""
    config = Config(name)
    _parse_into(config, text, name, read, 0)
    for label in config.labels:
        if label.append is None:
            label.append = config.append or ""
        elif label.append == "-":
            label.append = ""
        if not label.initrd:
            for word in label.append.split():
                if word.startswith("initrd="):
                    label.initrd = word[7:].split(",")
    return config


def _parse_into(config, text, name, read, depth):
    if depth > _MAX_DEPTH:
        raise ValueError("%s: included more than %d deep" % (name, _MAX_DEPTH))
    number = 0
    in_text = False
    for line in text.split("\n"):
        number += 1
        line = line.strip()
        if not line or line[0] == "#":
            continue
        word, rest = _split(line)
        if in_text:
            in_text = word != "endtext"
        elif word == "text":
            in_text = True
        elif word == "include" or word == "menu" and _split(rest)[0] == "include":
            if read is None:
                raise ValueError("%s line %d: include: nothing to read it with" % (name, number))
            path = rest if word == "include" else _split(rest)[1].split()[0]
            _parse_into(config, read(path), path, read, depth + 1)
        else:
            try:
                _take(config, word, rest)
            except ValueError as e:
                raise ValueError("%s line %d: %s" % (name, number, e))


def _split(line):
    parts = line.split(None, 1)
    return (parts[0].lower() if parts else ""), (parts[1].strip() if len(parts) > 1 else "")


def _number(word, rest):
    if not rest.isdigit():
        raise ValueError("%s %s: not a number" % (word, rest))
    return int(rest)


def _take(config, word, rest):
    label = config.labels[-1] if config.labels else None
    if word == "label":
        if not rest or len(config.labels) >= _MAX_LABELS:
            raise ValueError("a label without name" if not rest else "too many labels")
        config.labels.append(Label(rest))
    elif word == "default":
        config.default = rest
    elif word == "timeout":
        config.timeout = _number(word, rest)
    elif word == "prompt":
        config.prompt = _number(word, rest)
    elif word == "menu":
        _take_menu(config, label, rest)
    elif word == "append":
        if label:
            label.append = rest
        else:
            config.append = rest
    elif label:
        _take_label(label, word, rest)


def _take_menu(config, label, rest):
    word, rest = _split(rest)
    if word == "title":
        config.title = rest
    elif word == "label" and label:
        label.text = rest.replace("^", "")
    elif word == "default" and label:
        config.default = label.name


def _take_label(label, word, rest):
    if word in ("kernel", "linux"):
        label.kernel = rest
    elif word == "initrd":
        label.initrd = rest.split(",")
    elif word in ("fdt", "devicetree"):
        label.fdt = rest
    elif word in ("fdtdir", "devicetreedir"):
        label.fdtdir = rest
    elif word in _REFUSED:
        label.refused = word
