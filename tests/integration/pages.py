"""The blocks of code of doc/other_tools.md that need other packages, by the package."""

import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "doc" / "other_tools.md"
BLOCK = re.compile(r"^```\{code-block\} python\n:name: (\w+)\n\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCKS = dict(BLOCK.findall(PAGE.read_text("utf-8")))
