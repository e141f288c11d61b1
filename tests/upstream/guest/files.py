"""A FAT file system in the guest's RAM, mounted as / with the files that the tests of a folder want to find."""


class _Disk:
    # A block device, as vfs wants it: 512 bytes a block, requests 4 and 5 ask for count and size, 0 is "done".
    def __init__(self, blocks):
        self.data = bytearray(blocks * 512)

    def _part(self, block, buf, off):
        start = block * 512 + off
        return memoryview(self.data)[start : start + len(buf)]

    def readblocks(self, block, buf, off=0):
        buf[:] = self._part(block, buf, off)

    def writeblocks(self, block, buf, off=0):
        self._part(block, buf, off)[:] = buf

    def ioctl(self, request, arg):
        return {4: len(self.data) // 512, 5: 512}.get(request, 0)


def mount(files, blocks=1024):
    """Make the file system from {path: bytes}; folders come before what is in them and have None for a content."""
    import os

    import vfs

    disk = _Disk(blocks)
    vfs.VfsFat.mkfs(disk)
    vfs.mount(vfs.VfsFat(disk), "/")
    os.chdir("/")
    for path, content in files:
        if content is None:
            os.mkdir(path)
        else:
            with open(path, "wb") as f:
                f.write(content)
