"""Every Python block of README and doc/ runs, page by page, in the order of the page and in one namespace; what the
pages point at is there.

A block that ends in a comment ``# -> text`` promises that text as the value of its last line.
"""

import importlib
import re
import warnings
from functools import reduce
from pathlib import Path

import pytest

from iconlearn.engines import Partition

ROOT = Path(__file__).resolve().parents[1]
# The page of the periodic table has tests of its own.
OTHERS = {"periodic_table.md"}
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    return [match.group(1) for match in BLOCK.finditer(page.read_text("utf-8"))]


PAGES = [page for page in [ROOT / "README.md", *sorted((ROOT / "doc").glob("*.md"))] if blocks(page)]
PAGES = [page for page in PAGES if page.name not in OTHERS]


def run(block, namespace, name):
    *body, last = block.rstrip().splitlines()
    code, arrow, promised = last.partition("# -> ")
    if not arrow:
        exec(compile(block, name, "exec"), namespace)
        return
    exec(compile("\n".join(body), name, "exec"), namespace)
    assert str(eval(compile(code.strip(), name, "eval"), namespace)) == promised.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_block_runs(page):
    namespace = {"__name__": page.stem}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for k, block in enumerate(blocks(page), 1):
            run(block, namespace, f"{page.name}, block {k}")


def test_all_guides_have_code():
    assert {"README", "extending", "theory"} <= {page.stem for page in PAGES}
    assert {page.stem for page in (ROOT / "doc").glob("guide_*.md")} <= {page.stem for page in PAGES}


def test_a_broken_promise_is_seen():
    run("x = 1\nx + 1  # -> 2\n", {}, "good")
    with pytest.raises(AssertionError):
        run("x = 1\nx + 1  # -> 3\n", {}, "bad")
    with pytest.raises(NameError):
        run("y\n", {}, "bad")


# -- what pages point at -----------------------------------------------------------------------------------

TEXTS = [
    ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "doc").glob("*.md")), *sorted((ROOT / "examples").rglob("*.py")),
]  # fmt: skip
# Written when the pages are built.
MADE = {"benchmarks.md", "benchmarks"}
LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")
FILE = re.compile(r"`([\w./-]+\.(?:md|py|csv|png|cfg|rst))`")
ROOMS = (
    "conditional", "displays", "divergences", "engines", "learned", "mappers", "metrics", "neighbors", "optim",
    "recipes", "scorers", "storage", "supervisory",
)  # fmt: skip
NAME = re.compile(rf"(?<![\w./])(?:iconlearn\.)?((?:{'|'.join(ROOMS)})(?:\.[A-Za-z_]\w*)+)(?![\w/])")
each_text = pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)


def is_there(path, page):
    """Whether a file is found from the page, the root, or under one of the folders that pages speak of."""
    if path.startswith("auto_examples/"):  # a page of the gallery
        return (ROOT / "examples" / path.removeprefix("auto_examples/")).with_suffix(".py").exists()
    folders = [page.parent, ROOT, *(ROOT / name for name in ("iconlearn", "benchmarks", "examples", "doc"))]
    return Path(path).name in MADE or any((folder / path).exists() for folder in folders)


@each_text
def test_files_that_it_names_exist(page):
    text = page.read_text("utf-8")
    local = [target for target in LINK.findall(text) if "://" not in target and "pictures/" not in target]
    missing = [path for path in [*local, *FILE.findall(text)] if not is_there(path, page)]
    assert missing == []


@pytest.mark.parametrize("page", sorted((ROOT / "doc").glob("*.md")), ids=lambda page: page.name)
def test_pages_are_linked_and_not_quoted(page):
    text = page.read_text("utf-8")
    assert re.findall(r"`(?:doc/)?\w+\.md`", text) == []
    if page.name.startswith("guide_"):
        assert LINK.search(text), "a guide leads to other pages"


@each_text
def test_names_that_it_gives_exist(page):
    unknown = []
    for name in set(NAME.findall(page.read_text("utf-8"))) - {f"{room}.py" for room in ROOMS}:
        room, *attributes = name.split(".")
        try:
            reduce(getattr, attributes, importlib.import_module(f"iconlearn.{room}"))
        except AttributeError:
            unknown.append(name)
    assert unknown == []


def test_numbers_of_the_partition_engine_are_its_defaults():
    text = " ".join((ROOT / "doc" / "decisions.md").read_text("utf-8").split())
    default = Partition()
    assert f"up to {default.max_exact} rows (`max_exact`); beyond" in text
    assert f"an estimate from {default.n_off} random columns (`n_off`)" in text


def test_every_page_is_in_a_table_of_contents_below_the_first():
    folder, listed, open_ = ROOT / "doc", set(), ["index"]
    while open_:
        page = folder / f"{open_.pop()}.md"
        for table in re.findall(
            r"```\{toctree\}(.*?)```", page.read_text("utf-8") if page.exists() else "", re.DOTALL
        ):
            found = set(table.split()) - listed
            listed |= found
            open_ += found
    pages = {page.stem for page in folder.glob("*.md")} - {"index"} | MADE - {"benchmarks.md"}
    assert pages <= listed


def test_the_api_page_lists_all_that_rooms_offer():
    text = (ROOT / "doc" / "api.rst").read_text("utf-8")
    rooms = ("displays", "divergences", "learned", "mappers", "metrics", "scorers", "supervisory")
    missing = [
        f"{room}.{name}"
        for room in rooms
        for name in importlib.import_module(f"iconlearn.{room}").__all__
        if isinstance(getattr(importlib.import_module(f"iconlearn.{room}"), name), type)
        and not re.search(rf"^   (\w+\.)?{name}$", text, re.MULTILINE)
    ]
    assert missing == []
