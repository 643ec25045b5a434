"""The blocks of pages that need other packages, each in a namespace of its own."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "doc" / "other_tools.md"
BLOCK = re.compile(r"^```\{code-block\} python\n:name: (\w+)\n\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = dict(BLOCK.findall(PAGE.read_text("utf-8")))


@pytest.mark.parametrize("package", BLOCKS)
def test_a_block_runs(package, tmp_path, monkeypatch):
    pytest.importorskip(package, reason=f"{package} is not installed")
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[package], f"{PAGE.name}, {package}", "exec"), {"__name__": package})
