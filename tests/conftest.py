"""Fixtures and options for all tests: running guests, logs, --dry-run and --interactive."""

import re
import subprocess

import clauselist
import pytest
from session import Session, build_folder, micropython_version


def pytest_addoption(parser):
    group = parser.getgroup("guest")
    group.addoption("--dry-run", action="store_true", help="print each guest's QEMU command line and start nothing")
    group.addoption("--interactive", action="store_true", help="start the guest of each test on this terminal instead")


def pytest_configure(config):
    config.addinivalue_line("markers", "clauses(id, ...): the test fails when one of these rules of virtio is broken")


def pytest_collection_modifyitems(items):
    known = clauselist.load()
    for item in items:
        for mark in item.iter_markers("clauses"):
            if wrong := [name for name in mark.args if name not in known]:
                raise pytest.UsageError(f"{item.nodeid}: no such clause: {', '.join(map(str, wrong))}")


def pytest_report_header():
    version = ".".join(map(str, micropython_version() or ["not built"]))
    return f"MicroPython: {version} in {build_folder()}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Show the state of each guest that a failed test used."""
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for session in _sessions_of(item):
            report.sections.append(("guest", session.report()))


def _sessions_of(item):
    found = []
    for value in getattr(item, "funcargs", {}).values():
        for session in value if isinstance(value, list) else getattr(value, "sessions", [value]):
            if isinstance(session, Session) and session.started and session not in found:
                found.append(session)
    return found


def _start(config, session):
    """Start a guest; with --dry-run or --interactive show its command, perhaps run it here, and skip the test."""
    if not (config.getoption("--dry-run") or config.getoption("--interactive")):
        return session.start()
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + session.paste())
        if config.getoption("--interactive"):
            subprocess.call(session.command_line())
    pytest.skip("only shown" if config.getoption("--dry-run") else "ran by hand")


def _folder_name(node):
    return re.sub(r"^tests/|\.py\b", "", node.nodeid).replace("::", ".").replace("/", ".")


@pytest.fixture(scope="module")
def machine():
    """Session keyword arguments of a module's guest. A module overrides this fixture to change the machine."""
    return {}


@pytest.fixture(scope="module")
def module_guest(request, machine):
    """The module's one QEMU, at the friendly prompt when it starts. Tests take `guest`, which resets it."""
    session = Session(name=_folder_name(request.node), **machine)
    try:
        _start(request.config, session)
        session.wait_prompt()
        yield session
    finally:
        session.stop()
    session.check_registers()


@pytest.fixture
def guest(module_guest):
    """The module's guest after a soft reset, at the raw REPL. A guest that a test before this one broke is replaced."""
    try:
        module_guest.soft_reset()
    except (AssertionError, OSError):
        module_guest.restart().wait_prompt()
        module_guest.soft_reset()
    module_guest.check_logs(forget=True)
    yield module_guest
    module_guest.check_logs()


@pytest.fixture
def new_guest(request):
    """Start guests of this test's own: new_guest(smp=4, disks=[...]) returns a running Session."""

    def start(**options):
        session = Session(name=_folder_name(request.node), **options)
        start.sessions.append(session)
        return _start(request.config, session)

    start.sessions = []
    yield start
    for session in start.sessions:
        session.stop()
    for session in start.sessions:
        session.check_logs()
        session.check_registers()
