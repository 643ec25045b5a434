"""Write periodic_table.md from the recipes: the grid, and for each method its formula and how to fit it.

python doc/make_periodic_table.py

The pictures that the page shows are drawn by make_pictures.py.
"""

from __future__ import annotations

from pathlib import Path

import iconlearn
from iconlearn.recipes._table import COLUMNS, ROWS

PAGE = Path(__file__).with_name("periodic_table.md")

HEAD = """# The periodic table

Every method is one formula, the mean divergence of q from p. A column is a choice of p, which rows should be near each
other; a row is a choice of q, how near rows are in the model. Names in italics are new combinations; the others are
published methods.
"""

TAIL = """
`iconlearn.recipes` has a function for each; it returns an unfitted estimator. `iconlearn.periodic_table()` returns
the table as an object, `.to_pandas()` as a data frame.

This page is written by `doc/make_periodic_table.py`; change the recipes, not the page. Its pictures, of the methods
that make a map of the digits or clusters of them, are drawn by `make doc`; they are not kept in the repository.
"""

# What each kind of recipe is fitted to.
DATA = {
    "rows": ["X, _ = load_digits(return_X_y=True)", "fit(X / 16)"],
    "labelled": ["X, y = load_digits(return_X_y=True)", "fit(X / 16, y)"],
    "few labels": ["X, y = load_digits(return_X_y=True)", "y[100:] = -1", "fit(X / 16, y)"],
    "graph": ["graph = kneighbors_graph(load_digits().data, 10)", "fit(graph)"],
    "colour images": [
        'image = load_sample_image("flower.jpg")[:424] / 255',
        "X = image.reshape(53, 8, 80, 8, 3).transpose(0, 2, 4, 1, 3).reshape(4240, 192)",
        "fit(X)",
    ],
    "halves": ["X, _ = load_digits(return_X_y=True)", "fit(X / 16)"],
    "lists": ["X, _ = load_digits(return_X_y=True)", "fit(X / 16)"],
    "images": ["X, _ = load_digits(return_X_y=True)", "fit(X / 16)"],
    "tokens": ["lines = [line.split() for line in load_digits().DESCR.splitlines()]", "fit(lines)"],
}


# Lists of row numbers: digits come as 0, 1, ..., 9 and again, so that row i + 10 shows what row i does.
LISTS = {
    "triples": "triples = [(i, i + 10, i + 5) for i in range(150)]",
    "pairs": "pairs, alike = [(i, i + 5 + 5 * (i % 2)) for i in range(150)], [i % 2 for i in range(150)]",
    "candidates": "candidates = [(i + 10, i + 5, i + 3) for i in range(150)]",
    "apart": "apart = [(i, i + 5) for i in range(150)]",
}
OWN = {
    "n_clusters": "n_clusters=10",
    "split": "split=32",
    "shape": "shape=(8, 8)",
    "step": "step=8",
    "teacher": "teacher=ICONClassifier().fit(X / 16, y)",
    "triples": "triples=triples",
    "pairs": "pairs=pairs",
    "alike": "alike=alike",
    "candidates": "candidates=candidates",
    "anchors": "anchors=range(150)",
    "apart": "apart=apart",
}


def page() -> str:
    """The text of the page."""
    table = iconlearn.periodic_table()
    return "\n".join([HEAD, grid(table), TAIL, *(section(entry) for entry in table)])


def grid(table):
    used = [c for c in COLUMNS if any(e.p == c for e in table)]
    lines = ["| q \\\\ p | " + " | ".join(used) + " |", "| --- " * (len(used) + 1) + "|"]
    for q in ROWS:
        cells = ["<br>".join(link(e) for e in table.cell(p, q)) for p in used]
        lines.append(f"| **{q}** | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def link(entry):
    text = f"[{entry.name}](#{entry.key})"
    return f"*{text}*" if entry.gap else text


def has_picture(entry) -> bool:
    """Whether the method makes a map of the digits, or clusters of them."""
    return entry.estimator != "ICONClassifier" and entry.data not in ("tokens", "lists", "colour images")


def section(entry):
    picture = f"![the digits by {entry.name}](pictures/{entry.key}.png)\n\n" if has_picture(entry) else ""
    return f"""<a id="{entry.key}"></a>

## {entry.name}

{picture}{entry.formula.replace("|", "&#124;")}

- p: {entry.p}; q: {entry.q}; divergence: {entry.divergence}, {entry.direction}
- mapper: {entry.mapper}
- from: {entry.paper}
- verified against: {entry.verified}

```python
{example(entry)}
```
"""


def example(entry):
    """Five lines that fit the method."""
    *load, fit = DATA[entry.data]
    load += [line for name, line in LISTS.items() if name in entry.parameters]
    own = [*(given for name, given in OWN.items() if name in entry.parameters), "random_state=0"]
    if entry.data == "colour images":
        own = [given.replace("shape=(8, 8)", "shape=(3, 8, 8)") for given in own]
    names = "ICONClassifier, recipes" if "teacher" in entry.parameters else "recipes"
    lines = ["from sklearn.datasets import load_digits"]
    if entry.data == "colour images":
        lines = ["from sklearn.datasets import load_sample_image"]
    lines += ["from sklearn.neighbors import kneighbors_graph"] if entry.data == "graph" else []
    lines += [f"from iconlearn import {names}", ""]
    return "\n".join([*lines, *load, f"model = recipes.{entry.key}({', '.join(own)}).{fit}"])


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
