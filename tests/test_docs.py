"""Every Python block of README and doc/ runs, page by page, in the order of the page and in one namespace.

A block that ends in a comment ``# -> text`` promises that text as the value of its last line.
"""

import re
import warnings
from pathlib import Path

import pytest

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
