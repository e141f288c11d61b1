"""tests/clauses: markers, arguments and mutations are read right, and what is wrong with them is said."""

import arguments
import clauselist
import coverage_table
import markers
import mutations_list
import pytest

KNOWN = clauselist.load()


def marked(tmp_path, text, name="tests/host/test_x.py"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return markers.read(KNOWN, tmp_path)


def test_every_clause_has_an_id_a_level_and_words():
    assert len(KNOWN) == 917
    for clause in KNOWN.values():
        assert clause.level in ("MUST", "MUST NOT", "SHOULD", "SHOULD NOT", "MAY", "DESC"), clause
        assert clause.text and clause.section[0].isdigit(), clause
    assert KNOWN["CONF-02"].group == "mmio" and KNOWN["MMIO-LEG-01"].group == "mmio"
    assert KNOWN["MMIO-05"].needed and not KNOWN["MMIO-10"].needed and not KNOWN["CAN-01"].needed


def test_markers_of_functions_classes_modules_and_parameters(tmp_path):
    found = marked(
        tmp_path,
        "import pytest\n"
        "pytestmark = [pytest.mark.x, pytest.mark.clauses('GEN-INIT-01')]\n"
        "@pytest.mark.clauses('MMIO-05', 'MMIO-06')\n"
        "def test_a(): pass\n"
        "class TestB:\n"
        "    pytestmark = pytest.mark.clauses('RNG-01')\n"
        "    @pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.clauses('RNG-02'))])\n"
        "    def test_c(self, x): pass\n",
    )
    assert not found.errors
    assert found.nodes == {
        "tests/host/test_x.py::test_a": ["GEN-INIT-01", "MMIO-05", "MMIO-06"],
        "tests/host/test_x.py::TestB::test_c": ["GEN-INIT-01", "RNG-01", "RNG-02"],
    }
    assert found.tests["RNG-02"] == ["tests/host/test_x.py::TestB::test_c"]


@pytest.mark.parametrize(
    "text, error",
    [
        ("@pytest.mark.clauses('MMIO-99')\ndef test_a(): pass\n", "test_x.py:1: there is no clause MMIO-99"),
        ("@pytest.mark.clauses(*IDS)\ndef test_a(): pass\n", "test_x.py:1: ids have to be strings"),
        ("@pytest.mark.clauses('MMIO-05')\ndef helper(): pass\n", "test_x.py:2: helper names clauses and is no test"),
    ],
)
def test_wrong_markers_are_errors(tmp_path, text, error):
    assert error in marked(tmp_path, text).errors[0]


def argued(tmp_path, line, tests=None):
    folder = tmp_path / "arguments"
    folder.mkdir()
    (folder / "x.tsv").write_text("# comment\n" + line + "\n")
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "thing_features.py").write_text(
        "_A = 1\n"
        "class Thing:\n"
        "    FEATURES = 1 << _A | 1 << 3\n"
        "    FEATURE_NAMES = {1: 'ONE', 4: 'FOUR'}\n"
        "class Transport:\n"
        "    def __init__(self, legacy):\n"
        "        self.features = 1 << 27 if legacy else 1 << 32 | legacy.bits\n"
        "        self.features &= ~(1 << 1)\n"
        "        self.features |= 1 << 33\n"
    )
    return arguments.read(KNOWN, tests or {}, folder, modules)


@pytest.fixture
def _importable(tmp_path, monkeypatch):
    import sys

    monkeypatch.setattr(arguments, "MODULES", tmp_path / "modules")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    yield
    sys.modules.pop("thing_features", None)


@pytest.mark.usefixtures("_importable")
@pytest.mark.parametrize(
    "condition, problem",
    [
        ("unless TWO(2)@thing_features.py", None),
        ("unless FOUR(4)@thing_features.py; lacks set_config@thing_features.py", None),
        ("unless ONE(1)@thing_features.py", "thing_features.py:3 accepts feature bit 1"),
        ("unless THREE(3)@thing_features.py", "thing_features.py:3 accepts feature bit 3"),
        ("unless ANY_LAYOUT(27)@.", "thing_features.py:7 accepts feature bit 27"),
        ("unless VERSION_1(32)@.", "thing_features.py:7 accepts feature bit 32"),
        ("unless ACCESS_PLATFORM(33)@.", "thing_features.py:9 accepts feature bit 33"),
        ("unless FIVE(4)@thing_features.py", "feature bit 4 is FOUR, not FIVE"),
        ("unless FOUR(5)@thing_features.py", "feature bit 5 is another one, not FOUR"),
        ("unless TWO(2)@nothing.py", "there is no nothing.py"),
        ("lacks Thing@thing_features.py", "thing_features.py:2 uses Thing"),
        ("group mmio", None),
        ("group nobody", "unknown condition 'group nobody'"),
        ("unless RSS@thing_features.py", "unknown condition"),
    ],
)
def test_conditions_of_arguments_are_checked(tmp_path, condition, problem):
    found, errors = argued(tmp_path, f"MMIO-05 MMIO-06\tNo driver does it.\t{condition}")
    assert {clause for clause in found if not clause.startswith("CONF-")} == {"MMIO-05", "MMIO-06"}
    assert errors == [] if problem is None else problem in errors[0]


@pytest.mark.parametrize(
    "line, problem",
    [
        ("MMIO-99\tReason.", "there is no such clause"),
        ("MMIO-05", "x.tsv:2: want ids, argument"),
        ("MMIO-05\t ", "x.tsv:2: want ids, argument"),
        ("MMIO-06\tReason.", "a test shows it (test_y.py::test_z)"),
        ("MMIO-07\tReason.\nMMIO-07\tAgain.", "x.tsv:3: MMIO-07: has an argument in x.tsv:2 already"),
    ],
)
def test_wrong_arguments_are_errors(tmp_path, line, problem):
    _, errors = argued(tmp_path, line, {"MMIO-06": ["test_y.py::test_z"]})
    assert problem in errors[0]


@pytest.mark.parametrize(
    "entry, problem",
    [
        ('("MMIO-05", "a.py", "once", "x", "tests/host/test_x.py::test_a")', None),
        ('("MMIO-05", "a.py", "once", "x", "tests/host/test_x.py::test_a[mmio]")', None),
        ('("MMIO-99", "a.py", "once", "x", "tests/host/test_x.py::test_a")', "there is no such clause"),
        ('("MMIO-05", "a.py", "twice", "x", "tests/host/test_x.py::test_a")', "occurs 2 times in a.py"),
        ('("MMIO-05", "b.py", "once", "x", "tests/host/test_x.py::test_a")', "occurs 0 times in b.py"),
        ('("MMIO-05", "a.py", "once", "x", "tests/host/test_x.py::test_b")', "there is no test"),
        ('("MMIO-06", "a.py", "once", "x", "tests/host/test_x.py::test_a")', "does not name the clause"),
    ],
)
def test_mutations_are_checked(tmp_path, entry, problem):
    found = marked(tmp_path, "@pytest.mark.clauses('MMIO-05')\ndef test_a(): pass\n")
    (tmp_path / "a.py").write_text("once\ntwice twice\n")
    (tmp_path / "mutations").mkdir()
    (tmp_path / "mutations" / "x.py").write_text(f"MUTATIONS = [\n    {entry},\n]\n")
    mutations, errors = mutations_list.read(KNOWN, found, tmp_path / "mutations", tmp_path)
    if problem is None:
        assert list(mutations) == ["MMIO-05"] and not errors
    else:
        assert problem in errors[0] and errors[0].startswith("x.py:2: MMIO-")


def test_every_must_has_a_test_or_an_argument_and_every_mutation_fits():
    """What `make clauses` fails for."""
    table = coverage_table.Table()
    assert table.errors == []
    assert table.missing == []
