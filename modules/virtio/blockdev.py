"""MicroPython's block protocol over read(sector, buf), write(), flush(): what drivers of disks share."""


class BlockDevice:
    """Base of a disk with block_size, capacity_sectors (of 512 bytes), read, write, flush."""

    def readblocks(self, block, buf, offset=0):
        """Read blocks from block on, or from offset bytes into it."""
        n = len(buf)
        size = self.block_size
        if offset == 0 and n % size == 0:
            self.read(block * (size >> 9), buf)
            return
        whole, skip, bounce = self._bounce(block, offset, n)
        self.read(whole * (size >> 9), bounce)
        buf[:] = memoryview(bounce)[skip : skip + n]

    def writeblocks(self, block, buf, offset=0):
        """Write blocks; with an offset or a part of a block, what is round it is read first."""
        n = len(buf)
        size = self.block_size
        if offset == 0 and n % size == 0:
            self.write(block * (size >> 9), buf)
            return
        whole, skip, bounce = self._bounce(block, offset, n)
        self.read(whole * (size >> 9), bounce)
        bounce[skip : skip + n] = buf
        self.write(whole * (size >> 9), bounce)

    def _bounce(self, block, offset, n):
        """(first whole block, offset in it, buffer for all blocks that n bytes touch)."""
        size = self.block_size
        block += offset // size
        skip = offset % size
        return block, skip, bytearray((skip + n + size - 1) // size * size)

    def ioctl(self, op, arg):
        """1 init, 2 deinit, 3 sync, 4 block count, 5 block size, 6 erase (nothing to do)."""
        if op == 3 or op == 2:
            self.flush()
            return 0
        if op == 4:
            return self.capacity_sectors // (self.block_size >> 9)
        if op == 5:
            return self.block_size
        return 0 if op == 1 or op == 6 else None
