# ruff: noqa: F821
# Run before a precompiled test is imported from run-tests.py's own file system: leaves that file system where it is,
# on the search path, and makes the disk with the tests' files the current folder again.
__FS.stat = (lambda stat: lambda self, path: stat(self, path.lstrip("/")))(__FS.stat)
sys.path.append("/__vfstest")
os.chdir("/")
