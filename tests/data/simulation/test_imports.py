from __future__ import annotations

import re
import sys

import pytest

from data.own import write_module
from innflow.data.simulation.imports import resolve
from innflow.errors import InnflowError

SOURCE = """
class Setup:
    depth = 3
    def run(self, x):
        return x
setup = Setup()
def simulate(x):
    import beside
    return beside.twice(x)
"""


@pytest.fixture
def own(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, SOURCE)
    write_module(monkeypatch, tmp_path, "def twice(x): return 2 * x", "beside")
    return tmp_path


def test_a_module_of_the_current_folder_and_what_it_imports_later(own):
    found = resolve("mymodule.simulate", "data.forward")
    assert found.module is sys.modules["mymodule"]
    assert found.value(4) == 8
    assert sys.path[-1] == str(own)
    assert resolve("mymodule.setup.run", "data.forward").value(5) == 5
    assert resolve("mymodule.setup.run", "data.forward").module is found.module


def test_modules_within_packages(own):
    inner = own / "pack" / "inner"
    inner.mkdir(parents=True)
    (own / "pack" / "__init__.py").write_text("")
    (inner / "__init__.py").write_text("")
    (inner / "deep.py").write_text("prior = 7\n")
    found = resolve("pack.inner.deep.prior", "data.prior")
    assert found.value == 7
    assert found.module.__name__ == "pack.inner.deep"
    with pytest.raises(InnflowError, match=r"pack\.inner has no module or attribute dep; did you"):
        resolve("pack.inner.dep.prior", "data.prior")
    assert resolve("innflow.problem.joint.Joint", "data.prior").value.__name__ == "Joint"


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("mymodul.simulate", "there is no module mymodul in .* did you mean mymodule?"),
        ("mymodule.simulat", "module mymodule has no attribute simulat; did you mean simulate?"),
        ("mymodule.setup.dept", "mymodule.setup has no attribute dept; did you mean depth?"),
        ("mymodule", "must be an import path such as mymodule.name"),
        ("my-module.simulate", "must be an import path"),
        ("mymodule.", "must be an import path"),
        ("xml.dom", "is a module; give an attribute of it"),
    ],
)
def test_what_is_missing_is_named_with_what_was_meant(own, path, says):
    with pytest.raises(InnflowError, match=says) as caught:
        resolve(path, "data.forward")
    assert str(caught.value).startswith(f"data.forward={path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\nraise ValueError('no\\nluck')", "ValueError: no luck (broken.py, line 2)"),
        ("import sys\nsys.exit(3)", "SystemExit: 3 (broken.py, line 2)"),
        ("import obspy_of_nowhere", "ModuleNotFoundError: No module named 'obspy_of_nowhere'"),
        ("def f(:", "SyntaxError: invalid syntax (broken.py, line 1)"),
    ],
)
def test_what_a_module_raises_while_it_is_imported(monkeypatch, tmp_path, source, says):
    write_module(monkeypatch, tmp_path, source, "broken")
    with pytest.raises(InnflowError, match=r"^data\.prior=broken\.prior: importing broken raised"):
        resolve("broken.prior", "data.prior")
    with pytest.raises(InnflowError, match=re.escape(says)):
        resolve("broken.prior", "data.prior")


def test_a_module_hidden_by_an_installed_one(monkeypatch, tmp_path):
    write_module(monkeypatch, tmp_path, "prior = 1", "fractions")
    with pytest.raises(InnflowError, match=r"fractions\.py is hidden by the module fractions in"):
        resolve("fractions.prior", "data.prior")
