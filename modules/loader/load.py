"""A Plan: what is to be started, where each piece goes, and the two steps that do it: load() and boot()."""

from micropython import const

from . import handoff, image, source
from .layout import Layout, align_up, order_moves, show_size

_2M = const(0x200000)
_KEPT = "reserved-memory"  # riscv.regions() calls what the devicetree reserves so
_FDT_SLACK = const(0x4000)


class Piece:
    """One part of a plan: name, addr, size (memory taken), source (a Source or text), stage.

    stage: where it waits until the trampoline moves it to addr; addr itself when it need not move.
    """

    def __init__(self, name, addr, size, what, stage=None):
        self.name = name
        self.addr = addr
        self.size = size
        self.source = what
        self.stage = addr if stage is None else stage

    def __repr__(self):
        moved = ", moved there from 0x%x" % self.stage if self.stage != self.addr else ""
        what = self.source if isinstance(self.source, str) else self.source.name
        return "%-11s 0x%09x-0x%09x %10s  %s%s" % (
            self.name,
            self.addr,
            self.addr + self.size,
            show_size(self.size),
            what,
            moved,
        )


class Plan:
    """Made by loader.plan(). print() shows it; nothing is read to its place before load()."""

    def __init__(self, kernel, initrd=None, append=None, fdt=None, mode=None):
        """kernel, initrd, fdt: Sources or None; see loader.plan()."""
        self.kernel = kernel
        self.initrd = initrd
        self.append = append
        self.image, self.kernel = _recognise(kernel)
        if mode not in (None, "S", "M"):
            raise ValueError("mode %r: 'S' (through OpenSBI) or 'M'" % mode)
        self.mode = mode or ("M" if self.image.kind == "ELF" else "S")
        if self.mode == "M" and self.image.kind == "Image":
            raise ValueError("%s: a RISC-V Image is entered in S-mode" % kernel.name)
        self._fdt_source = fdt
        self._base = _base_fdt(fdt)
        self._reserved = []
        self.loaded = False
        self._place()

    def __repr__(self):
        text = "%s, entered at 0x%x in %s-mode%s\n" % (
            self.kernel.name,
            self.entry,
            self.mode,
            " from OpenSBI" if self.mode == "S" else "",
        )
        text += "\n".join([repr(piece) for piece in sorted(self.pieces, key=lambda p: p.addr)])
        if self.append is not None:
            text += "\nbootargs    %s" % self.append
        return text

    def piece(self, name):
        """The Piece of that name, or None."""
        for piece in self.pieces:
            if piece.name == name:
                return piece
        return None

    def _place(self):
        import riscv

        live, kept = [], []
        for region in riscv.regions():
            (kept if region[2] == _KEPT else live).append(region)
        self.pieces = []
        layout = Layout(riscv.ram(), live, kept)
        self._place_kernel(layout)
        if self.mode == "S":
            self._place_opensbi(layout)
        low = self.pieces[0].addr + self.pieces[0].size if self.image.kind == "Image" else 0
        if self.initrd:
            self._place_initrd(layout, low)
        size = len(self._base._buf) + len(self.append or "") + handoff.FDT_ROOM + _FDT_SLACK
        size = align_up(size, handoff.PAGE)
        name = self._fdt_source.name if self._fdt_source else "devicetree of this machine"
        self.pieces.append(Piece("fdt", layout.put("fdt", size, handoff.PAGE, low), size, name))
        page = layout.put("trampoline", handoff.PAGE, handoff.PAGE, low)
        self.pieces.append(Piece("trampoline", page, handoff.PAGE, "lets all harts go at once"))

    def _place_opensbi(self, layout):
        # Rather beside the firmware: QEMU takes 20 us for a word stored into a page whose code has run.
        import riscv

        blob = riscv.opensbi()
        size, align = handoff.OPENSBI_SIZE, handoff.OPENSBI_ALIGN
        try:
            at = layout.put("opensbi", size, align)
            stage = at
        except OSError:
            at = layout.put("opensbi", size, align, over_live=True)
            stage = riscv.addr(blob)
        self.pieces.append(Piece("opensbi", at, size, source.Buffer(blob, "OpenSBI"), stage))

    def _place_kernel(self, layout):
        found = self.image
        if found.kind == "ELF":
            return self._place_elf(layout)
        size = max(found.size, 0 if isinstance(self.kernel, source.InMemory) else self.kernel.size)
        at = getattr(self.kernel, "addr", None)
        if at is not None and not (at - found.offset) % found.align:
            layout.fix("kernel", at, size)
        else:
            low = layout.ram[0][0] + found.offset
            offset = found.offset % found.align
            at = layout.put("kernel", size, found.align, low, offset)
        self.pieces.append(Piece("kernel", at, size, self.kernel))
        self.entry = at

    def _place_elf(self, layout):
        # The extent of all segments as one piece; where the firmware is, it waits elsewhere.
        start = min([s[2] for s in self.image.segments]) & -8
        end = align_up(max([s[2] + s[3] for s in self.image.segments]), 8)
        layout.fix("kernel", start, end - start, over_live=True)
        stage = start
        if layout.is_live(start, end):
            stage = layout.put("kernel, waiting", end - start, handoff.PAGE)
        self.pieces.append(Piece("kernel", start, end - start, self.kernel, stage))
        self.entry = self.image.entry

    def _place_initrd(self, layout, low):
        at = getattr(self.initrd, "addr", None)
        if at is None:
            at = layout.put("initrd", self.initrd.size, _2M, low)
        else:
            layout.fix("initrd", at, self.initrd.size, over_live=True)
        self.pieces.append(Piece("initrd", at, self.initrd.size, self.initrd))

    def _reserve(self):
        # Take the memory; whatever was allocated since the plan was made may be in the way.
        import riscv

        for piece in self.pieces:
            if piece.name == "opensbi" and piece.stage != piece.addr:
                continue  # it waits inside the firmware
            if piece.name == "initrd" and getattr(piece.source, "addr", None) == piece.addr:
                continue  # QEMU's, which the map of memory has
            start = piece.stage & -handoff.PAGE
            riscv.reserve(start, align_up(piece.stage + piece.size, handoff.PAGE), piece.name)
            self._reserved.append(start)

    def release(self):
        """Give the memory back."""
        import riscv

        for start in self._reserved:
            riscv.release(start)
        self._reserved = []
        self.loaded = False

    def load(self):
        """Read everything to its place. Blocks. Returns self. An error leaves nothing reserved."""
        if self.loaded:
            return self
        try:
            try:
                self._reserve()
            except ValueError:
                self.release()
                self._place()
                self._reserve()
            self._read()
        except BaseException:
            self.release()
            raise
        self.loaded = True
        return self

    def _read(self):
        from uctypes import bytearray_at

        for piece in self.pieces:
            if isinstance(piece.source, str) or getattr(piece.source, "addr", None) == piece.addr:
                continue
            if piece.name == "fdt" or piece.name == "opensbi" and piece.stage != piece.addr:
                continue
            if piece.name == "kernel" and self.image.kind == "ELF":
                self._read_elf(piece)
            else:
                piece.source.read_at(piece.stage)
        initrd = self.piece("initrd")
        blob = handoff.build_fdt(
            self._base,
            self.append,
            initrd and (initrd.addr, initrd.addr + initrd.size),
            self.piece("trampoline").addr,
        )
        place = self.piece("fdt")
        if len(blob) > place.size:
            raise ValueError("fdt: %d bytes, room was left for %d" % (len(blob), place.size))
        bytearray_at(place.addr, len(blob))[:] = blob

    def _read_elf(self, piece):
        from uctypes import bytearray_at

        from fs.blocks import zero

        zero(memoryview(bytearray_at(piece.stage, piece.size)))
        for offset, in_file, addr, _ in self.image.segments:
            self.kernel.read_at(piece.stage + addr - piece.addr, offset, in_file)

    def boot(self):
        """load(), then leave for it. Does not return."""
        self.load()
        opensbi = self.piece("opensbi")
        moves = []
        for piece in self.pieces:
            if piece.stage != piece.addr:
                size = piece.source.size if piece is opensbi else piece.size
                moves.append((piece.addr, piece.stage, size))
        handoff.jump(
            self.piece("trampoline").addr,
            opensbi.addr if opensbi else self.entry,
            self.piece("fdt").addr,
            self.entry if opensbi else 0,
            order_moves(moves),
        )


def _recognise(kernel):
    # (Image, Source of it unpacked)
    found = image.parse(kernel.head(image.HEAD), kernel.name, kernel.size)
    if isinstance(kernel, source.InMemory) and found.kind != "Image":
        raise image.ImageError("%s: %s in memory, of unknown length" % (kernel.name, found.kind))
    if found.kind == "gzip":
        from .gunzip import Gzip

        kernel = Gzip(kernel)
        found = image.parse(kernel.head(image.HEAD), kernel.name, kernel.size)
        if found.kind != "Image":
            raise image.ImageError("%s: holds %s, not a RISC-V Image" % (kernel.name, found.kind))
    return found, kernel


def _base_fdt(fdt_source):
    import fdt

    if fdt_source is None:
        return fdt.system()
    blob = fdt_source.head(fdt_source.size)
    try:
        return fdt.FDT(blob)
    except ValueError as e:
        raise ValueError("fdt %s: %s" % (fdt_source.name, e))
