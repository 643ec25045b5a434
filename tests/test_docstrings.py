"""Docstrings of all that is public follow numpydoc, as far as the house follows it."""

import importlib
import inspect
import re
from dataclasses import is_dataclass

import pytest

validate = pytest.importorskip("numpydoc.validate", reason="needs numpydoc")

ROOMS = (
    "iconlearn", "iconlearn.conditional", "iconlearn.displays", "iconlearn.divergences", "iconlearn.engines",
    "iconlearn.learned", "iconlearn.mappers", "iconlearn.metrics", "iconlearn.neighbors", "iconlearn.optim",
    "iconlearn.recipes", "iconlearn.scorers", "iconlearn.storage", "iconlearn.supervisory",
)  # fmt: skip
# Where the house goes its own way.
FREE = {
    "ES01", "EX01", "SA01",  # sections are written where they help
    "GL08", "RT01",  # an override keeps its base's docstring; a summary may say what is returned
    "PR04", "PR07", "RT02", "RT03",  # "a, b, c" may share one "as for"; a type and a shape may say all
    "YD01",  # a context manager yields nothing that one reads
    "PR08", "SS02", "SS05",  # a sentence may begin with a name in small letters, or with a formula
}  # fmt: skip


def public():
    """Dotted names of the public classes, their methods, and functions; each once."""
    seen = set()
    for room in ROOMS:
        module = importlib.import_module(room)
        for name in module.__all__:
            value = getattr(module, name)
            ours = getattr(value, "__module__", "").startswith("iconlearn")
            if not ours or id(value) in seen or not (inspect.isclass(value) or inspect.isfunction(value)):
                continue
            seen.add(id(value))
            yield f"{room}.{name}"
            for method in vars(value) if inspect.isclass(value) else ():
                if not method.startswith("_") and inspect.isfunction(vars(value)[method]):
                    yield f"{room}.{name}.{method}"


NAMES = list(public())


def found(name):
    """Complaints that the house heeds."""
    doc = validate.Validator(validate.get_doc_object(validate.Validator._load_obj(name)))
    complaints = [f"{code}: {text}" for code, text in validate.validate(name)["errors"] if code not in FREE]
    # A section may be left out as a whole where the summary says it all, and a value's fields are its attributes.
    whole = not doc.doc_parameters or is_dataclass(doc.obj)
    return [text for text in complaints if not (whole and text.startswith("PR01"))]


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_numpydoc(name):
    assert found(name) == []


def references(text):
    """What reStructuredText takes for a reference or a substitution in a text, and what is rather a formula."""
    # numpydoc has a syntax of its own there.
    text = re.sub(r"^Attributes\n-+\n.*?(?=^\w[^\n]*\n---|\Z)", "", text, flags=re.M | re.S)
    text = re.sub(r"^\s*(>>>|\.\.\.) .*|``[^`]+``|`[^`]+`_?", "", text, flags=re.M)
    return re.findall(r"(?<![\w|])\|[^\s|][^|]*[^\s|]\|(?![\w|])|(?<![\w*])\w+_(?=[-\s.,;:)])", text)


def test_formulas_are_no_references():
    assert references("sum |P - Q| / 2, X_-i and ``|x|``, embedding_ too") == ["|P - Q|", "X_", "embedding_"]
    doubted = {name: references(inspect.getdoc(validate.Validator._load_obj(name)) or "") for name in NAMES}
    assert {name: what for name, what in doubted.items() if what} == {}


def test_all_have_a_docstring():
    assert [name for name in NAMES if not inspect.getdoc(validate.Validator._load_obj(name))] == []


ENTRANCES = [name for name in NAMES if name.count(".") == 1 or name.startswith("iconlearn.displays.")]


@pytest.mark.parametrize("name", [name for name in ENTRANCES if "fit" not in name])
def test_the_entrances_name_all_their_parameters(name):
    value = validate.Validator._load_obj(name)
    doc = validate.Validator(validate.get_doc_object(value))
    assert set(doc.signature_parameters) <= set(doc.doc_all_parameters)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name.count(".") == 1 and name.split(".")[1][0].isupper()]
)
def test_the_estimators_have_an_example(name):
    assert validate.Validator(validate.get_doc_object(validate.Validator._load_obj(name))).examples
