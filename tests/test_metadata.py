"""What the package says of itself: metadata, citation, security, and the report of versions."""

import configparser
import re
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import iconlearn

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def setup():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", "utf-8")
    return config


@pytest.fixture(scope="module")
def metadata(setup):
    return setup["metadata"]


def test_links_classifiers_and_keywords(metadata):
    urls = dict(line.split(" = ") for line in metadata["project_urls"].strip().splitlines())
    assert {"Documentation", "Source", "Issues", "Changelog"} <= set(urls)
    assert all(url.startswith("https://") for url in [metadata["url"], *urls.values()])
    classifiers = set(metadata["classifiers"].strip().splitlines())
    assert {"Typing :: Typed", "Programming Language :: Python :: 3.11"} <= classifiers
    assert (ROOT / "iconlearn" / "py.typed").exists()
    keywords = metadata["keywords"].split(", ")
    assert len(keywords) == len(set(keywords)) >= 8


def test_what_the_gallery_imports_is_installed_with_the_documentation(setup):
    lines = setup["options"]["install_requires"] + setup["options.extras_require"]["doc"]
    installed = {re.match(r"[\w-]+", line)[0] for line in lines.split() if line[0].isalpha()}
    used = set()
    for script in (ROOT / "examples").glob("*/plot_*.py"):
        code = script.read_text("utf-8")
        used |= set(re.findall(r"^(?:import|from) (\w+)", code, re.M)) | (
            {"pandas"} if ".to_pandas()" in code else set()
        )
    others = (
        used - set(sys.stdlib_module_names) - {"iconlearn", "sklearn"}
    )  # scikit-learn has another name there
    assert {"matplotlib", "pandas"} <= others <= installed


def test_nothing_is_installed_by_the_name_of_this_package():
    # An unpublished name may be anybody's.
    pages = [
        *ROOT.glob("*.md"),
        *(ROOT / "doc").glob("*.md"),
        *(ROOT / "iconlearn").rglob("*.py"),
        *(ROOT / "examples").rglob("*.py"),
    ]
    assert [
        page.name for page in pages if re.search(r"pip install '?\"?iconlearn", page.read_text("utf-8"))
    ] == []


def test_citation_has_this_version_and_licence(metadata):
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert re.search(r"^version: (.*)$", citation, re.M)[1] == iconlearn.__version__
    assert re.search(r"^license: (.*)$", citation, re.M)[1] == metadata["license"]


def test_pages_of_the_root_are_in_the_source_archive():
    manifest = (ROOT / "MANIFEST.in").read_text("utf-8").split()
    pages = {path.name for path in ROOT.glob("*.md")} - {"README.md"}  # which setup.cfg names itself
    assert pages | {"CITATION.cff", "constraints.txt", "tests", "doc"} <= set(manifest)


def test_security_names_what_is_there():
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    for name in re.findall(r"`iconlearn\.(\w+)(?:\(\))?`", text):
        assert hasattr(iconlearn, name)


def test_show_versions_reports_what_is_installed(capsys):
    assert iconlearn.show_versions() is None
    text = capsys.readouterr().out
    lines = dict(line.strip().split(": ", 1) for line in text.splitlines() if re.match(r" +[\w -]+: ", line))
    assert lines["python"] == sys.version.replace("\n", " ")
    assert lines["iconlearn"] == iconlearn.__version__
    assert lines["scikit-learn"] == version("scikit-learn") and lines["torch"] == version("torch")
    assert lines["GPUs"].startswith("[") and int(lines["threads"]) >= 1
