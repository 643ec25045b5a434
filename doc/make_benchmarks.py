"""Write benchmarks.md from the csv files of benchmarks/results, so that no figure is ever copied by hand.

python doc/make_benchmarks.py

A file with a row for every seed or draw is averaged over them.  A file that PAGES does not know is shown as it is.
"""

from __future__ import annotations

import ast
import csv
import math
import re
from pathlib import Path
from typing import NamedTuple

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
PAGE = Path(__file__).with_name("benchmarks.md")

HEAD = """# Benchmarks

Every table here is made from a csv file in `benchmarks/results/` when these pages are built: no figure was copied by
hand. Each says what was run and on what; the scripts and their options are in `benchmarks/`, and DATA is a folder with
the sets. The best of each comparison is bold, and under each table the same script lists where another
library is better than iconlearn's default. Seconds depend on the machine: read them as ratios.
"""

# Rows that differ in nothing but these are averaged.
REPEATS = ("seed", "draw", "split")
# Columns that say where a row was measured.
MACHINE = ("python", "numpy", "scikit-learn", "torch", "cores")
# What a row is about, where a file is not in PAGES; other columns of numbers are figures.
KEYS = ("rows", "columns", "labels", "classes", "clusters", "components", "debias", "k")
# Figures that are better when large, and when small, by a word in their names.
HIGH = re.compile(
    r"(^|[_ ])(accuracy|nmi|ari|recall|triplets|linear_probe|ten_neighbours|unlabelled rows|new rows|spearman)"
)
LOW = re.compile(r"(^|[_ ])(seconds|ms|joint_kl|peak|ece|log loss|ratio)")
# Figures that only say more of another.
SPREADS = re.compile(r".*_sd$|(relative|min)_")

# Between thousands; no line ends there.
THIN = "\N{NARROW NO-BREAK SPACE}"
# So many losses are written out; the tables have all.
LISTED = 12


class Benchmark(NamedTuple):
    """How the table of one file is read.

    ``who`` is the column whose entries are compared, ``ours`` the entry that peers are held against, ``pivot`` the
    figures that get a table each with a column for every entry of ``who``.
    """

    title: str
    options: str = ""
    who: str = "method"
    ours: str | None = None
    pivot: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()


PAGES = {
    "embedding": Benchmark("Maps of MNIST", "DATA", ours="ICONEmbedding"),
    "embedding_kernels": Benchmark("Maps of MNIST by other kernels", "DATA --kernels"),
    "cold_start": Benchmark("A first map in a fresh process", who="fit", ours="ICONEmbedding"),
    "transform": Benchmark("New rows beside a map", "DATA"),
    "growth": Benchmark("Maps of up to a million rows"),
    "clustering": Benchmark(
        "Clusters of real sets", "DATA", ours="ICONClustering", pivot=("accuracy", "nmi", "ari")
    ),
    "clustering_shapes": Benchmark(
        "Clusters of shapes", "DATA --shapes", ours="ICONClustering", pivot=("ari", "accuracy", "nmi")
    ),
    "clustering_further": Benchmark(
        "Clusters of sets that are in no sweep",
        "DATA --further",
        ours="ICONClustering",
        pivot=("accuracy", "nmi", "ari"),
    ),
    "clustering_defaults": Benchmark(
        "Defaults of the clustering", "DATA", who="candidate", pivot=("accuracy", "nmi")
    ),
    "unbalanced": Benchmark(
        "Classes of different sizes", "DATA", who="candidate", pivot=("accuracy", "nmi", "ari")
    ),
    "clustering_growth": Benchmark("Clusters of up to a million rows"),
    "many_clusters": Benchmark("Many clusters"),
    "k_means": Benchmark("k-means as a recipe beside scikit-learn's"),
    "small_data": Benchmark("Defaults on few rows"),
    "n_clusters_auto": Benchmark("How many clusters", "DATA"),
    "divergences": Benchmark("Divergences for clusters of sentences", "DATA", who="divergence"),
    "semisupervised": Benchmark(
        "Few labels", "DATA", ours="iconlearn", pivot=("unlabelled rows", "new rows", "seconds")
    ),
    "classifier": Benchmark("Classifiers", "DATA", pivot=("value",)),
    "classifier_speed": Benchmark("A classifier's time", "DATA --only speed", pivot=("value",)),
    "classifier_million": Benchmark("A classifier of a million rows", "--only million", pivot=("value",)),
    "views": Benchmark("Representations from views", "DATA", pivot=("linear_probe", "ten_neighbours")),
    "device": Benchmark("On a GPU", "DATA", who="device", pivot=("value",)),
    "words": Benchmark("Vectors of words", "DATA", who="library", ours="iconlearn"),
    "two_views": Benchmark("Two views of one thing", "DATA"),
}


def page(folder: Path = BENCHMARKS) -> str:
    """The text of the page."""
    files = {path.stem: path for path in sorted((folder / "results").glob("*.csv"))}
    known = [stem for stem in PAGES if stem in files]
    order = known + [stem for stem in files if stem not in PAGES]
    return "\n\n".join([HEAD.strip(), *(section(folder, files[stem]) for stem in order)]) + "\n"


def section(folder, path):
    """One file: what was asked, how it was run, its tables, and where we lose."""
    script = script_of(folder, path.stem)
    benchmark = PAGES.get(path.stem) or Benchmark(path.stem.replace("_", " ").capitalize())
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    parts = [f"## {benchmark.title}"]
    if script is not None:
        parts += [question(script), f"    python benchmarks/{script.name} {benchmark.options}".rstrip()]
    if not rows:
        return "\n\n".join([*parts, "Nothing was measured yet."])
    keys, figures = columns_of(rows, benchmark)
    lines = averaged(rows, keys, figures)
    turned = [name for name in benchmark.pivot if name in figures]
    parts += pivoted(lines, keys, turned, benchmark) if turned else [flat(lines, keys, figures, benchmark)]
    return "\n\n".join([*parts, *losses(lines, keys, turned or figures, benchmark), measured_on(rows)])


def script_of(folder, stem):
    """The script that wrote a file: of its name, or of the longest name that it begins with."""
    scripts = [path for path in folder.glob("*.py") if f"{stem}_".startswith(f"{path.stem}_")]
    return max(scripts, key=lambda path: len(path.stem), default=None)


def question(script):
    """The first paragraph of what a script says of itself."""
    text = ast.get_docstring(ast.parse(script.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


# -- from rows to lines ------------------------------------------------------------------------------------


def number(text):
    """A float, or None where there is no finite number."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def columns_of(rows, benchmark):
    """The columns that say what a line is about, and those that were measured."""
    names = [name for name in rows[0] if name not in (*MACHINE, *REPEATS, "status", *benchmark.leave_out)]
    texts = [
        name
        for name in names
        if any(row[name] and number(row[name]) is None and row[name] != "nan" for row in rows)
    ]
    keys = [name for name in names if name in texts or name in (*KEYS, benchmark.who)]
    return keys, [name for name in names if name not in keys]


def averaged(rows, keys, figures):
    """Lines of keys and mean figures, with how many rows each stands for and what did not finish."""
    groups: dict[tuple, list] = {}
    for row in rows:
        # A fit that did not finish has no shape to say.
        groups.setdefault(tuple(row[name] for name in keys if name not in KEYS or row[name]), []).append(row)
    lines = []
    for group in groups.values():
        done = [row for row in group if row.get("status", "done") == "done"]
        line = {name: group[0][name] for name in keys}
        for name in figures:
            values = [value for row in done if (value := number(row[name])) is not None]
            line[name] = sum(values) / len(values) if values else None
        lines.append({**line, "repeats": len(done), "failed": len(group) - len(done)})
    return lines


def better(figure):
    """1 where larger is better, -1 where smaller is, 0 where the figure is no merit."""
    if SPREADS.match(figure):
        return 0
    return 1 if HIGH.search(figure) else -1 if LOW.search(figure) else 0


def best(lines, figure):
    """The best value of a figure among lines, or None where there is nothing to compare."""
    values = [line[figure] for line in lines if line[figure] is not None]
    return (
        max(values, key=lambda value: better(figure) * value) if len(values) > 1 and better(figure) else None
    )


def alike(lines, keys, benchmark):
    """Lines that differ in who did it alone, in the order of the file."""
    within = [name for name in keys if name not in (benchmark.who, "rows", "columns", "clusters")]
    groups: dict[tuple, list] = {}
    for line in lines:
        groups.setdefault(tuple(line[name] for name in within), []).append(line)
    return within, groups


# -- tables ------------------------------------------------------------------------------------------------


def shown(value, *, bold=False):
    """A figure in three or four digits, a name as it is."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"{int(value):,}".replace(",", THIN) if value.isdigit() else value.replace("|", "\\|")
    if value == round(value) and abs(value) >= 1:
        text = f"{value:,.0f}".replace(",", THIN)
    else:
        text = f"{value:.3f}" if abs(value) < 1 else f"{value:.4g}" if abs(value) < 100 else f"{value:.0f}"
    return f"**{text}**" if bold else text


def table(head, body, n_keys):
    rule = ["---"] * n_keys + ["---:"] * (len(head) - n_keys)
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *body])


def flat(lines, keys, figures, benchmark):
    """One table with a line for each line."""
    compared = benchmark.ours is not None
    bests = {name: best(lines, name) if compared else None for name in figures}
    figures = [name for name in figures if any(line[name] is not None for line in lines)]
    body = [
        [shown(line[name]) for name in keys]
        + [shown(line[name], bold=line[name] is not None and line[name] == bests[name]) for name in figures]
        for line in lines
    ]
    return table([heading(name) for name in (*keys, *figures)], body, len(keys))


def pivoted(lines, keys, figures, benchmark):
    """A table for each figure, with a column for every method."""
    within, groups = alike(lines, keys, benchmark)
    methods = list(dict.fromkeys(line[benchmark.who] for line in lines))
    parts = []
    for figure in figures:
        body = []
        for key, group in groups.items():
            found = {line[benchmark.who]: line for line in group}
            top = best(group, figure)
            cells = [cell(found.get(method), figure, top) for method in methods]
            body.append([*map(shown, key), *cells])
        parts.append(
            f"**{heading(figure)}**\n\n" + table([*map(heading, within), *methods], body, len(within))
        )
    return parts


def cell(line, figure, top):
    if line is None:
        return ""
    if line[figure] is None and line["failed"]:
        return "did not finish"
    return shown(line[figure], bold=top is not None and line[figure] == top)


def heading(name):
    return name.replace("_", " ")


# -- what is said of them ----------------------------------------------------------------------------------


def losses(lines, keys, figures, benchmark):
    """Where another is better than our default, the worst first; every figure of merit that was measured."""
    if benchmark.ours is None:
        return []
    within, groups = alike(lines, keys, benchmark)
    said = []
    for figure in filter(better, figures):
        lost, compared = [], 0
        for key, group in groups.items():
            peers = [line for line in group if line[figure] is not None and not is_ours(line[benchmark.who])]
            mine = [line for line in group if line[benchmark.who] == benchmark.ours]
            if not peers or not mine or mine[0][figure] is None:
                continue
            compared += 1
            peer = max(peers, key=lambda line: better(figure) * line[figure])
            if better(figure) * (peer[figure] - mine[0][figure]) > 0:
                gap = abs(peer[figure] - mine[0][figure])
                where = ", ".join(
                    value if number(value) is None else f"{heading(name)} {value}"
                    for name, value in zip(within, key)
                )
                pair = f"{mine[0][figure]:.4g} against {peer[figure]:.4g} by {peer[benchmark.who]}"
                lost.append((gap, f"{where}: {pair}" if where else pair))
        if compared:
            count = f"{len(lost)} of {compared}" if compared > 1 else "yes" if lost else "no"
            listed = [text for _, text in sorted(lost, reverse=True)]
            listed[LISTED:] = ["and so on"] * (len(listed) > LISTED)
            said.append(f"- {heading(figure)}: {count}" + (f" ({'; '.join(listed)})" if lost else ""))
    return [f"Is another better than `{benchmark.ours}`?\n\n" + "\n".join(said)] if said else []


def is_ours(name):
    return name.startswith(("ICON", "recipes.", "iconlearn"))


def measured_on(rows):
    """Repeats, versions and cores, as the rows have them."""
    parts = []
    for name in REPEATS:
        if any(row.get(name) for row in rows):
            n = len({row[name] for row in rows})
            parts.append(f"means over {name}s, up to {n}" if n > 1 else f"one {name}")
    parts += [
        f"{'Python' if name == 'python' else name} {', '.join(sorted({row[name] for row in rows}))}"
        for name in MACHINE
        if name in rows[0]
    ]
    return f"*{'; '.join(parts)}.*" if parts else ""


def write() -> None:
    PAGE.write_text(page(), "utf-8")


if __name__ == "__main__":
    write()
