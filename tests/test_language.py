"""Plain English in what users read: README, pages, examples and docstrings.

The list holds words that reviewers stumbled over: private idiom, objects that act like persons, old-fashioned verbs.
"""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Each with what to say in its place.
WORDS = {
    r"told(?! apart\b)": "given, or known to",
    r"lets? go|letting go": "omits, or releases",
    r"mend(s|ed|ing)?": "fix, or correct",
    r"dear": "expensive",
    r"row's say|says? of (it|them|a row)": "weight, or distribution",
    r"stands?(?!-|\s+(for|out)\b)|stood": "is",
    r"thankful|grateful": "helped by",
    r"honest(ly)?": "calibrated, or accurate",
    r"named (right|rightly|wrong)": "classified correctly",
    r"hardly": "little, or a number",
    r"insists?": "penalises",
    r"yardstick": "reference",
    r"come to rest|comes to rest": "converge",
    r"one door": "the only module that imports",
    r"riddles?": "a plain sentence",
    r"believes?|believed": "assigns, or assumes",
    r"(?<=\d )beside(?= \d)|(?<=\d\n)beside(?= \d)|(?<=\d )beside(?=\n\d)": "against",
    r"to the letter": "exactly",
    r"by heart": "memorise",
    r"that bends": "non-linear",
    r"thaw(s|ed|ing)?": "fine-tune, or unfreeze",
    r"for the eye": "for the picture",
}
PATTERN = re.compile("|".join(rf"(?P<w{i}>\b(?:{word})\b)" for i, word in enumerate(WORDS)), re.IGNORECASE)
PAGES = [
    ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md",
    ROOT / "benchmarks" / "README.md", *sorted((ROOT / "doc").glob("*.md")), *sorted((ROOT / "doc").glob("*.rst")),
    *sorted((ROOT / "examples").rglob("*.rst")),
]  # fmt: skip
SOURCES = [*sorted((ROOT / "iconlearn").rglob("*.py")), *sorted((ROOT / "examples").rglob("*.py"))]


def complaints(text):
    """Each word of the list in a text, with what to say instead; code is no text."""
    code = r"^```.*?^```|``[^`]+``|`[^`\n]+`"
    prose = re.sub(code, lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.S | re.M)
    advice = list(WORDS.values())
    return [
        f"line {prose.count(chr(10), 0, found.start()) + 1}: {found[0]!r}; say {advice[int(found.lastgroup[1:])]}"
        for found in PATTERN.finditer(prose)
    ]


def docstrings(source):
    """The docstrings of a module, its classes and functions, without their examples."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef
    for node in ast.walk(ast.parse(source)):
        text = ast.get_docstring(node) if isinstance(node, kinds) else None
        if text:
            yield getattr(node, "name", "the module"), re.sub(r"^\s*(>>>|\.\.\.) .*", "", text, flags=re.M)


def gallery_text(source):
    """What a script of the gallery says between its blocks of code: the comments that a line ``# %%`` begins."""
    return "\n".join(re.findall(r"^# %%\n((?:#.*\n)+)", source, flags=re.M))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_in_plain_english(page):
    assert complaints(page.read_text("utf-8")) == []


def test_docstrings_are_in_plain_english():
    found = [
        f"{path.relative_to(ROOT)}, {name}, {complaint}"
        for path in SOURCES
        for name, text in docstrings(path.read_text("utf-8"))
        for complaint in complaints(text)
    ]
    assert not found, "\n".join(found)


def test_the_gallery_is_in_plain_english():
    scripts = sorted((ROOT / "examples").rglob("plot_*.py"))
    found = [
        f"{path.name}: {what}"
        for path in scripts
        for what in complaints(gallery_text(path.read_text("utf-8")))
    ]
    assert scripts and not found, "\n".join(found)


def test_words_of_the_list_are_seen_in_prose_alone():
    assert len(complaints("A row that was told its label stands beside the others.\nLabels are dear.")) == 3
    assert complaints("Each row stands for three; `told` and\n```python\ndear = 1\n```\nare code.") == []
    assert len(complaints("It has 0.71 beside 0.69, and 3 beside\n4.")) == 2
    assert complaints("A graph beside 30 features, and 3 beside them.") == []
    assert complaints("\n\nThe weights were told.")[0].startswith("line 3: 'told'")
    source = 'def f():\n    """Mend it.\n\n    >>> dear = 1\n    """\n    # told'
    assert [text.split()[0] for _, text in docstrings(source)] == ["Mend"]
    assert complaints(gallery_text("# %%\n# It was told.\n\n# told\n")) == [
        "line 1: 'told'; say given, or known to"
    ]
