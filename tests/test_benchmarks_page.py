"""The page of the benchmarks says what the csv files say, and where we lose."""

import csv
import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.csv"))
MACHINE = {"python": "3.11.7", "numpy": "2.4.6", "scikit-learn": "1.9.1", "torch": "2.13.0", "cores": "2"}


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_benchmarks", ROOT / "doc" / "make_benchmarks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def written(maker, tmp_path):
    """The page of one file with these rows."""

    def write(stem, rows, script=""):
        (tmp_path / "results").mkdir(exist_ok=True)
        if script:
            (tmp_path / f"{stem.partition('_')[0]}.py").write_text(script)
        with (tmp_path / "results" / f"{stem}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, [*rows[0], *MACHINE])
            writer.writeheader()
            writer.writerows({**row, **MACHINE} for row in rows)
        return maker.page(tmp_path)

    return write


def cells(page):
    """The lines of its tables, as lists."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("| ")
    ]


def test_every_file_has_its_section_and_a_command_that_names_its_script(maker):
    page = maker.page()
    assert page.count("\n## ") == len(RESULTS)
    commands = re.findall(r"^    python benchmarks/(\w+\.py)", page, re.MULTILINE)
    assert len(commands) == len(RESULTS)
    assert all((ROOT / "benchmarks" / name).exists() for name in commands)
    scripts = {maker.script_of(maker.BENCHMARKS, path.stem).stem for path in RESULTS}
    assert scripts == {name.removesuffix(".py") for name in commands}


@pytest.mark.parametrize("stem", ["clustering", "semisupervised"])
def test_means_are_those_of_the_file(maker, stem):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_csv(ROOT / "benchmarks" / "results" / f"{stem}.csv")
    section = next(part for part in maker.page().split("\n## ") if part.startswith(maker.PAGES[stem].title))
    figure = maker.PAGES[stem].pivot[0]
    within = ["data"] if stem == "clustering" else ["set", "labels"]
    means = table.groupby([*within, "method"])[figure].mean().dropna()
    assert len(means)
    head, *body = cells(section.partition(f"**{figure}**")[2].partition("\n\n**")[0])
    lines = {tuple(line[: len(within)]): dict(zip(head, line)) for line in body if line[0] != "---"}
    for (*key, method), value in means.items():
        assert float(lines[tuple(map(str, key))][method].strip("*")) == pytest.approx(value, abs=5.01e-4)


def test_repeats_are_averaged_and_fits_that_did_not_finish_are_told(written):
    done = {"status": "done", "rows": 100}
    page = written(
        "clustering",
        [
            {"data": "iris", "method": "ICONClustering", "seed": 0, **done, "accuracy": 0.8, "nmi": 0.5},
            {"data": "iris", "method": "ICONClustering", "seed": 1, **done, "accuracy": 0.9, "nmi": 0.6},
            {"data": "iris", "method": "KMeans", "seed": 0, **done, "accuracy": 0.88, "nmi": 0.4},
            {"data": "iris", "method": "Slow", "seed": 0, "status": "over 900 s"},
            {"data": "wine", "method": "ICONClustering", "seed": 0, **done, "accuracy": 0.5, "nmi": 0.5},
            {"data": "wine", "method": "KMeans", "seed": 0, **done, "accuracy": 0.4, "nmi": 0.4},
        ],
    )
    head, _, iris, wine = cells(page)[:4]
    assert head == ["data", "ICONClustering", "KMeans", "Slow"]
    assert iris == ["iris", "0.850", "**0.880**", "did not finish"]
    assert wine == ["wine", "**0.500**", "0.400", ""]
    assert "- accuracy: 1 of 2 (iris: 0.85 against 0.88 by KMeans)" in page
    assert "- nmi: 0 of 2\n" in page
    assert "means over seeds, up to 2; Python 3.11.7; numpy 2.4.6" in page


def test_smaller_is_better_where_it_is(written):
    rows = [
        {"method": name, "rows": 70000, "median_seconds": seconds, "recall_15": recall}
        for name, seconds, recall in [
            ("ICONEmbedding", 6.5, 0.39), ("openTSNE", 72.2, 0.4), ("recipes.tsne", 5.0, 0.5),
        ]
    ]  # fmt: skip
    page = written("embedding", rows)
    assert "- median seconds: no\n" in page  # what is quicker is ours too
    assert "- recall 15: yes (0.39 against 0.4 by openTSNE)" in page
    assert [line[2:] for line in cells(page)[2:]] == [
        ["6.5", "0.390"],
        ["72.2", "0.400"],
        ["**5**", "**0.500**"],
    ]


def test_a_file_that_nobody_told_it_of_is_shown_as_it_is(written):
    rows = [{"set": "a|b", "labels": 5, "seed": k, "novelty": k, "note": "x"} for k in range(3)]
    page = written("unknown_variant", rows, '"""What is new?\n\nMore of it."""\n')
    assert "## Unknown variant\n\nWhat is new?\n\n    python benchmarks/unknown.py\n" in page
    assert cells(page.replace("a\\|b", "ab"))[-1] == ["ab", "5", "x", "1"]


def test_gaps_and_nan_are_no_figures(written):
    rows = [{"method": "a", "x": ""}, {"method": "b", "x": "nan"}, {"method": "c", "x": np.pi}]
    assert cells(written("odd", rows))[2:] == [["a", ""], ["b", ""], ["c", "3.142"]]
