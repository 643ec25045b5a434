"""The blocks of code in the guide to clustering run, one after another."""

import re
import warnings
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[1] / "doc" / "guide_clustering.md"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_the_guide_runs(capsys):
    names, blocks = {}, BLOCK.findall(GUIDE.read_text("utf-8"))
    assert len(blocks) == 8
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for number, code in enumerate(blocks, 1):
            exec(compile(code, f"{GUIDE.name}, block {number}", "exec"), names)
    assert "nan" not in capsys.readouterr().out
