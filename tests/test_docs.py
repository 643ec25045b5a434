"""Every Python block of the guides runs, page by page, in the order of the page and in one namespace.

A block that ends in a comment ``# -> text`` promises that text as the value of its last line.
"""

import re
from pathlib import Path

import pytest

PAGES = sorted((Path(__file__).resolve().parents[1] / "doc").glob("guide_*.md"))
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page):
    return [match.group(1) for match in BLOCK.finditer(page.read_text("utf-8"))]


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
    found = blocks(page)
    assert found, "a guide without a block of Python"
    for k, block in enumerate(found, 1):
        run(block, namespace, f"{page.name}, block {k}")


def test_a_broken_promise_is_seen():
    run("x = 1\nx + 1  # -> 2\n", {}, "good")
    with pytest.raises(AssertionError):
        run("x = 1\nx + 1  # -> 3\n", {}, "bad")
    with pytest.raises(NameError):
        run("y\n", {}, "bad")
