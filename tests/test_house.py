"""The rules of the house, read from the source with `ast`; the package itself is not imported.

A rule takes a `House` and returns complaints. `BROKEN` holds a small house for each way to break a
rule, so that every rule is seen to bite and not only to pass.
"""

import ast
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FACE = "iconlearn"

# From the roof down. A module imports from its own floor and from those below it.
FLOORS = [
    {"anndata", "displays", "words"},
    {"recipes", "storage"},
    {"estimators"},
    {"registry"},
    {"solve"},
    {"plan"},
    {"classification", "initialization", "out_of_sample"},
    {"engines"},
    {"loss"},
    {"objective"},
    {"supervisory", "learned", "divergences", "mappers"},
    {"clusters"},
    {"conditional", "neighbors", "optim", "metrics", "scorers", "views"},
    {"numerics"},
    {"distributed"},
]
PEERS = {"supervisory", "learned", "divergences", "mappers"}
COMPONENT_ROOMS = {"supervisory", "learned", "divergences", "engines"}
PROTOCOLS = {"Supervisory", "Learned", "Divergence", "Engine"}
SLOW = {"numba", "pynndescent", "faiss", "matplotlib", "pandas", "plotly", "triton"}
# A room that needs a slow library throughout is as slow as that, and is imported as late.
SLOW_ROOMS = {"iconlearn.numerics.compiled", "iconlearn.numerics.fused"}
# Rooms of arrays and sparse matrices, which have no use for tensors.
ARRAY_ROOMS = {"clusters", "metrics"}
# What may be imported inside a function: it is slow, optional or not in every supported version.
LAZY = (
    SLOW
    | SLOW_ROOMS
    | {
        "sklearn.callback",
        "sklearn.cluster",
        "sklearn.decomposition",
        "sklearn.linear_model",
        "sklearn.metrics",
        "sklearn.neighbors",
    }
)
MAX_DEPTH = 3
# Rooms that know what these are; the rooms below are handed what they need of them.
ABOVE = {"estimators", "plan", "solve", "classification", "initialization", "out_of_sample"}
KNOWN_FROM = {
    "estimator": {"estimators", "recipes", "storage", "displays", "scorers"},
    "plan": {"estimators", "plan", "solve", "classification", "initialization"},
    "engine": {*ABOVE, "engines", "loss", "registry"},
    "visit": {*ABOVE, "engines", "loss"},
    "problem": {*ABOVE, "engines", "loss", "objective"},
}
# They read objects of any kind: files, and what users pass for data.
READERS_OF_ANYTHING = {"storage", "iconlearn.estimators._inputs"}
# Attributes of numpy, scipy, torch and scikit-learn that not all versions or kinds have.
FOREIGN = {
    *(
        "__array__",
        "__get__",
        "__len__",
        "base",
        "bias",
        "cat",
        "classes_",
        "dtype",
        "get_params",
        "iloc",
        "kind",
        "ndim",
        "predict_log_proba",
        "predict_proba",
    ),
    *("set_params", "shape", "toarray"),
    # Of later versions of torch and scikit-learn, or of some systems.
    *("fp32_precision", "matmul", "register_at_fork", "_callback_fit_ctx", "_skl_callbacks"),
}
# What a collaborator may offer beyond its protocol, and who that is.
OPTIONAL = {
    "batch_size": "an engine that sees batches",
    "draw": "a p whose batches are drawn in groups",
    "features": "a p over columns that are other features",
    "for_images": "a mapper with modules of the user's",
    "graph": "a block of p that was made of edges; a callable p",
    "keeper": "a callback that keeps what a fit has done, as Checkpoint does",
    "log": "a block of p whose logarithms do not underflow",
    "parts": "a view of images that is several, one after the other",
    "prepare": "a p that reads tokens",
    "quadratic": "a block of p whose logarithm is a squared distance",
    "rates": "a module whose parts learn at rates of their own",
    "state": "a function that keeps a run, where an earlier process has left one",
    "transform": "a fitted transformer, whose outputs are targets",
    "stationary": "a method that knows when its gradient is zero",
}
# Private names that scikit-learn and numpy give to those who extend them.
PRIVATE_BY_OTHERS = {
    "_fields",
    "_replace",
    "_asdict",
    "_getframe",
    "_init_callback_context",
    "_get_default_store",
}
NOUNS_IN_ING = {"_clustering", "_embedding", "_monitoring"}
# Private modules with one importer, and why they are files of their own.
APART = {
    "clusters._shards": "what fits over several processes alone need",
    "engines._device_weights": "steps of clusters on a device, whose own room has no torch",
    "engines._limits": "what the limits of the bandwidth need is apart from the protocol of an engine",
    "engines._potentials": "a normaliser with a solver and slopes of its own",
    "engines._tiles": "one kind of row sum, with a backward pass of its own",
    "engines.mesh._splines": "points and grids, in plain torch and compiled",
    "estimators._images": "which components read images, which a fit of flat rows does not need",
    "estimators._incremental": "further rows and classes, which a fit does not need",
    "estimators._parameter_names": "names of other libraries, which no fit needs",
    "estimators._semi_supervised": "few labels, which a fit of labelled rows does not need",
    "neighbors._cell_probes": "the search in cells of GPUs",
    "neighbors._exact": "one of the searches that _search chooses from",
    "neighbors._inverted_lists": "one of the searches that _search chooses from",
    "neighbors._row_probes": "the search in cells by compiled loops",
    "optim._momentum": "one of the methods that _methods names",
}


# --- reading -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Import:
    """One imported name, dotted and absolute: a module, or a module and what is taken from it."""

    target: str
    line: int
    in_function: bool
    typing_only: bool


class ImportReader(ast.NodeVisitor):
    """Collects the imports of a module and what its names are bound to by them."""

    def __init__(self, package):
        self.package = package
        self.imports = []
        self.bindings = {}
        self.in_function = False
        self.typing_only = False

    def visit_FunctionDef(self, node):
        outer, self.in_function = self.in_function, True
        self.generic_visit(node)
        self.in_function = outer

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        outer = self.typing_only
        self.typing_only = outer or ast.unparse(node.test).endswith("TYPE_CHECKING")
        for child in node.body:
            self.visit(child)
        self.typing_only = outer
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name, node)
            top = alias.name.partition(".")[0]
            self.bindings[alias.asname or top] = alias.name if alias.asname else top

    def visit_ImportFrom(self, node):
        base = self.absolute(node.level, node.module or "")
        for alias in node.names:
            self.add(f"{base}.{alias.name}", node)
            self.bindings[alias.asname or alias.name] = f"{base}.{alias.name}"

    def visit_Call(self, node):
        """`import_module` and `__import__` are imports too, and lazy ones wherever they stand."""
        if last_name(node.func) in {"import_module", "__import__"}:
            constant = node.args and isinstance(node.args[0], ast.Constant)
            name = node.args[0].value if constant else "?"
            level = len(name) - len(name.lstrip("."))
            self.add(self.absolute(level, name.lstrip(".")), node, in_function=True)
        self.generic_visit(node)

    def absolute(self, level, module):
        if not level:
            return module
        parents = self.package.split(".")
        return ".".join([*parents[: len(parents) - level + 1], *filter(None, [module])])

    def add(self, target, node, in_function=False):
        in_function = in_function or self.in_function
        self.imports.append(Import(target, node.lineno, in_function, self.typing_only))


def last_name(node):
    """What is called at the end: `c` of c, of b.c and of a(b).c; nothing of other expressions."""
    return getattr(node, "attr", getattr(node, "id", ""))


class Module:
    def __init__(self, name, source, is_package):
        self.name = name
        self.tree = ast.parse(source)
        self.room = room_of(name)
        reader = ImportReader(name if is_package else name.rpartition(".")[0])
        reader.visit(self.tree)
        self.imports = reader.imports
        self.bindings = reader.bindings
        self.nodes = list(ast.walk(self.tree))  # once for all rules
        self.classes = {n.name: n for n in self.nodes if isinstance(n, ast.ClassDef)}


class House:
    """The parsed package, from a mapping of paths (relative to the package) to source text."""

    def __init__(self, sources):
        self.modules = {}
        for path, source in sources.items():
            parts = [FACE, *Path(path).with_suffix("").parts]
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            self.modules[name] = Module(name, source, is_package)

    @classmethod
    def on_disk(cls):
        folder = ROOT / FACE
        return cls({str(p.relative_to(folder)): p.read_text("utf-8") for p in folder.rglob("*.py")})

    @cached_property
    def rooms(self):
        """All modules but the face, which gathers what the others define."""
        return [module for name, module in self.modules.items() if name != FACE]

    def home(self, dotted):
        """The module of ours that a dotted name lies in, or None."""
        while dotted and dotted not in self.modules:
            dotted = dotted.rpartition(".")[0]
        return dotted or None

    def inner_imports(self, module):
        """(import, name of our module) for those imports of a module that stay in the house."""
        pairs = ((imported, self.home(imported.target)) for imported in module.imports)
        return [(imported, home) for imported, home in pairs if home not in (None, module.name)]

    def origin(self, dotted):
        """Follows re-exports: where the thing of this name is defined."""
        seen = set()
        while dotted not in seen:
            seen.add(dotted)
            home = self.home(dotted)
            if home is None or home == dotted:
                break
            head, dot, tail = dotted[len(home) + 1 :].partition(".")
            dotted = self.modules[home].bindings.get(head, f"{home}.{head}") + dot + tail
        return dotted

    def resolve(self, module, node):
        """The dotted name of what an expression means in a module, or None."""
        if isinstance(node, ast.Subscript):
            return self.resolve(module, node.value)
        if isinstance(node, ast.Attribute):
            owner = self.resolve(module, node.value)
            return owner and self.origin(f"{owner}.{node.attr}")
        if not isinstance(node, ast.Name):
            return None
        if node.id in module.classes:
            return f"{module.name}.{node.id}"
        bound = module.bindings.get(node.id)
        return bound and self.origin(bound)

    @cached_property
    def bases(self):
        """For each class of ours the dotted names of its bases."""
        return {
            f"{module.name}.{name}": [b for b in (self.resolve(module, e) for e in node.bases) if b]
            for module in self.modules.values()
            for name, node in module.classes.items()
        }

    @cached_property
    def components(self):
        """The concrete p, q, divergences and engines."""
        return {
            f"{module.name}.{name}"
            for module in self.rooms
            if module.room in COMPONENT_ROOMS
            for name, node in module.classes.items()
            if not name.startswith("_") and not is_abstract(node)
        }


def room_of(name):
    """The first name below the package: iconlearn.learned._kernels lies in `learned`."""
    return name.split(".")[1] if "." in name else ""


def floor_of(room):
    """Counted from the roof down to the private modules; None is a room without a place."""
    if room.startswith("_"):
        return len(FLOORS)
    return next((i for i, rooms in enumerate(FLOORS) if room in rooms), None)


def is_abstract(node):
    bases = {ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases}
    abstract_method = "abstractmethod" in {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    return node.name in PROTOCOLS or bool(bases & {"ABC", "Protocol"}) or abstract_method


# --- the rules -----------------------------------------------------------------------------------


def every_room_has_a_floor(house):
    rooms = {module.room for module in house.rooms}
    return [f"{room}: give it a place in FLOORS" for room in rooms if floor_of(room) is None]


def imports_run_downward(house):
    complaints = []
    for module in house.rooms:
        for imported, home in house.inner_imports(module):
            room = room_of(home)
            # The version is the one thing that the face defines itself.
            if home == FACE and imported.target != f"{FACE}.__version__":
                complaints.append(f"{module.name}:{imported.line} imports the face")
            elif home != FACE and (floor_of(room) or 0) < (floor_of(module.room) or 0):
                complaints.append(f"{module.name}:{imported.line} imports upward: {home}")
            elif room != module.room and {room, module.room} <= PEERS:
                complaints.append(f"{module.name}:{imported.line} imports its peer: {home}")
    return complaints


def no_import_circle(house):
    graph = {}
    for module in house.rooms:
        graph[module.name] = {
            needed
            for imported, home in house.inner_imports(module)
            if not imported.typing_only
            for needed in executed_by(home, module.name)
        }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [" <- ".join(error.args[1])]
    return []


def executed_by(home, importer):
    """The module itself and the packages around it whose __init__ is not running already."""
    parts = home.split(".")
    around = {".".join(parts[:n]) for n in range(2, len(parts))}
    return {home} | {package for package in around if not f"{importer}.".startswith(f"{package}.")}


def components_are_not_asked_for_by_class(house):
    complaints = []
    for module in house.rooms:
        for node in class_tests(module.nodes):
            name = house.resolve(module, node)
            if name in house.components and room_of(name) != module.room:
                complaints.append(f"{module.name}:{node.lineno} asks for {name}")
    return complaints


def class_tests(nodes):
    """The classes that a module asks about: isinstance, issubclass, `type(x) is C`, `case C()`."""
    for node in nodes:
        if isinstance(node, ast.MatchClass):
            yield node.cls
        elif isinstance(node, ast.Compare):
            for operand in (node.left, *node.comparators):
                yield from names_in(operand)
        elif isinstance(node, ast.Call) and last_name(node.func) in {"isinstance", "issubclass"}:
            yield from names_in(node.args[1])


def names_in(node):
    """Takes (A, B), [A, B] and A | B apart."""
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        for element in node.elts:
            yield from names_in(element)
    elif isinstance(node, ast.BinOp):
        yield from names_in(node.left)
        yield from names_in(node.right)
    else:
        yield node


def no_class_is_estimator_and_module(house):
    return [
        name
        for name in house.bases
        if any(map(is_sklearn_estimator, outer_ancestors(house, name)))
        and any(map(is_torch_module, outer_ancestors(house, name)))
    ]


def outer_ancestors(house, name):
    """The nearest ancestors of a class that are defined outside the package."""
    if name not in house.bases:
        return {name}
    return set().union(*(outer_ancestors(house, base) for base in house.bases[name]))


def is_sklearn_estimator(name):
    return name.startswith("sklearn.") and not name.endswith("Mixin")


def is_torch_module(name):
    return name.startswith("torch.nn.")


def inheritance_is_shallow(house):
    depths = {name: depth(house, name) for name in house.bases}
    return [f"{name} is {deep} deep" for name, deep in depths.items() if deep > MAX_DEPTH]


def depth(house, name):
    """How many classes of ours lie on the longest way up, the class itself included."""
    if name not in house.bases:
        return 0
    return 1 + max((depth(house, base) for base in house.bases[name]), default=0)


def function_imports_are_lazy_libraries(house):
    return [
        f"{module.name}:{imported.line} imports {imported.target} inside a function"
        for module in house.rooms
        for imported in module.imports
        if imported.in_function and not is_of(imported.target, LAZY)
    ]


def slow_libraries_are_imported_lazily(house):
    return [
        f"{module.name}:{imported.line} imports {imported.target} when it is imported itself"
        for module in house.modules.values()
        if not is_of(module.name, SLOW_ROOMS)
        for imported in module.imports
        if not (imported.in_function or imported.typing_only) and is_of(imported.target, SLOW | SLOW_ROOMS)
    ]


def array_rooms_import_no_torch(house):
    return [
        f"{module.name}:{imported.line} imports {imported.target}"
        for module in house.rooms
        if module.room in ARRAY_ROOMS
        for imported in module.imports
        if is_of(imported.target, {"torch"})
    ]


def is_of(target, libraries):
    return any(f"{target}.".startswith(f"{library}.") for library in libraries)


def a_class_has_one_base_of_ours(house):
    """A class of ours inherits from at most one other: what it needs besides it calls."""
    return [
        f"{name} has the bases {', '.join(ours)}"
        for name, bases in house.bases.items()
        if len(ours := [base for base in bases if base in house.bases]) > 1
    ]


def parameters_are_named_at_their_floor(house):
    """What an estimator, a plan, an engine, a visit or a problem is, is known from its own floor upward."""
    return [
        f"{module.name}:{node.lineno} {node.name} takes {argument.arg}"
        for module in house.rooms
        for node in module.nodes
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        if argument.arg in KNOWN_FROM and module.room not in KNOWN_FROM[argument.arg]
    ]


def only_declared_attributes_are_asked_for(house):
    """`hasattr` and `getattr` are for what a protocol declares; a guess is wrong for the first foreign object."""
    declared = declared_names(house) | FOREIGN | set(OPTIONAL)
    return [
        f"{module.name}:{node.lineno} asks whether there is {name!r}"
        for module in house.rooms
        if module.room not in READERS_OF_ANYTHING and module.name not in READERS_OF_ANYTHING
        for node, name in attribute_questions(module.nodes)
        if name not in declared and not is_fitted_attribute(name)
    ]


def attribute_questions(nodes):
    for node in nodes:
        named = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) > 1
        asks = named and node.func.id in {"hasattr", "getattr"} and isinstance(node.args[1], ast.Constant)
        if asks and getattr(node.args[0], "id", None) != "self":
            yield node, node.args[1].value


def is_fitted_attribute(name):
    """scikit-learn's names of what a fit leaves, which is there or not."""
    return name.endswith("_") and not name.startswith("_")


def declared_names(house):
    """Attributes and methods of the base classes of the slots."""
    names = set()
    for module in house.rooms:
        for name, node in module.classes.items():
            if name in PROTOCOLS:
                names |= names_in_body(node)
    return names


def names_in_body(node):
    names = set()
    for part in node.body:
        if isinstance(part, ast.FunctionDef):
            names.add(part.name)
        targets = part.targets if isinstance(part, ast.Assign) else [getattr(part, "target", None)]
        names |= {t.id for t in targets if isinstance(t, ast.Name)}
    return names


def private_attributes_stay_in_their_module(house):
    """`x._name` is read of self and cls, and of what the same module defines."""
    complaints = []
    for module in house.rooms:
        own = private_names(module.nodes)
        for node in module.nodes:
            if not isinstance(node, ast.Attribute) or not re.fullmatch(r"_[a-z]\w*", node.attr):
                continue
            of_itself = isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"}
            of_super = isinstance(node.value, ast.Call) and last_name(node.value.func) == "super"
            if not (of_itself or of_super or node.attr in own or node.attr in PRIVATE_BY_OTHERS):
                complaints.append(f"{module.name}:{node.lineno} reads {ast.unparse(node)}")
    return complaints


def private_names(nodes):
    """Private methods that a module defines, and private attributes that its classes set."""
    names = {n.name for n in nodes if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                names.add(node.attr)
        elif isinstance(node, ast.ClassDef):
            names |= names_in_body(node)
    return names


def modules_are_named_by_nouns(house):
    return [
        f"{name} is named by what happens; name it by what it is about"
        for name in house.modules
        if name.endswith("ing") and name.rpartition(".")[2] not in NOUNS_IN_ING
    ]


def a_private_module_serves_several(house):
    """A private module that one other of its room alone imports is a part of that one, unless a reason is given."""
    importers = {}
    for module in house.rooms:
        for _, home in house.inner_imports(module):
            importers.setdefault(home, set()).add(module.name)
    complaints = []
    for name, who in importers.items():
        short = name.rpartition(".")[2]
        room = name.rpartition(".")[0]
        alone = who != {room} and {module.rpartition(".")[0] for module in who} == {room} and len(who) == 1
        if short.startswith("_") and alone and name.removeprefix(f"{FACE}.") not in APART:
            complaints.append(
                f"{name} is imported by {next(iter(who))} alone: merge them, or say why in APART"
            )
    return complaints


def imports_are_relative(house):
    return [
        f"{module.name}:{node.lineno} imports {node.module} by its full name"
        for module in house.modules.values()
        for node in module.nodes
        if isinstance(node, ast.ImportFrom) and not node.level and f"{node.module}.".startswith(f"{FACE}.")
    ]


def records_are_built_in_one_place(house):
    places = [
        f"{module.name}:{node.lineno}"
        for module in house.rooms
        for node in module.nodes
        if isinstance(node, ast.Call) and last_name(node.func) == "Record"
    ]
    return [f"Record is built in {', '.join(places)}"] if len(places) > 1 else []


def private_modules_have_no_list_of_names(house):
    """What others may import of a private module is named without an underscore; a list beside it goes stale."""
    return [
        f"{module.name}:{node.lineno} has an __all__"
        for module in house.rooms
        if module.name.rpartition(".")[2].startswith("_")
        for node in module.tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    ]


RULES = [
    a_class_has_one_base_of_ours,
    parameters_are_named_at_their_floor,
    only_declared_attributes_are_asked_for,
    private_attributes_stay_in_their_module,
    modules_are_named_by_nouns,
    a_private_module_serves_several,
    imports_are_relative,
    records_are_built_in_one_place,
    private_modules_have_no_list_of_names,
    every_room_has_a_floor,
    imports_run_downward,
    no_import_circle,
    components_are_not_asked_for_by_class,
    no_class_is_estimator_and_module,
    inheritance_is_shallow,
    function_imports_are_lazy_libraries,
    slow_libraries_are_imported_lazily,
    array_rooms_import_no_torch,
]


# --- the house as it stands ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def house():
    house = House.on_disk()
    assert house.rooms, "the package is empty or not where it should be"
    return house


@pytest.mark.parametrize("rule", RULES)
def test_the_house_keeps_the_rule(house, rule):
    complaints = rule(house)
    assert not complaints, "\n".join(complaints)


def tree_of(page):
    """The paths in the drawing of the package on a page, folders ending in a slash."""
    drawing = page.partition("    iconlearn/\n")[2].partition("\n\n")[0]
    folders, paths = [], set()
    for line in drawing.splitlines():
        name = line.split()[0]
        level = (len(line) - len(line.lstrip()) - 6) // 2
        folders = [*folders[:level], name]
        paths.add("".join(folders))
    return paths


def test_the_page_draws_the_tree_on_disk():
    """The one written plan; `__init__` files gather what the others define and are not drawn."""
    package = ROOT / FACE
    files = {str(p.relative_to(package)) for p in package.rglob("*.py") if p.name != "__init__.py"}
    folders = {f"{Path(name).parent}/" for name in files if "/" in name}
    assert tree_of((ROOT / "doc" / "architecture.md").read_text("utf-8")) == files | folders


def test_a_tree_is_read():
    page = "\n    iconlearn/\n      a/   room\n        b.py   file\n        c/   inner\n          d.py   x\n\n  e"
    assert tree_of(page) == {"a/", "a/b.py", "a/c/", "a/c/d.py"}


FIT_OF_FEW = """
import numpy as np, sys
import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.neighbors import _search, knn
X = np.random.default_rng(0).normal(size=(2000, 5)).astype(np.float32)
model = ICONEmbedding(max_iter=5, random_state=0).fit(X)
model.transform(X[:3] + 0.01)
usual, _search.MAX_EXACT = _search.MAX_EXACT, 100
for metric in ("euclidean", "cosine"):
    knn(X, 5, metric=metric)
print(*sorted((UNWANTED | {"sklearn.cluster", "sklearn.neighbors"}) & set(sys.modules)))
_search.MAX_EXACT = usual
ICONClustering(3, max_iter=3, n_init=1, random_state=0).fit(X).predict(X[:3] + 1)
ICONClassifier(max_iter=5, random_state=0).fit(X, X[:, 0] > 0).predict(X[:3])
print(*sorted(UNWANTED & set(sys.modules)))
assert iconlearn.__all__
for name in iconlearn.__all__:
    getattr(iconlearn, name)
print(*sorted(SLOW & set(sys.modules)))
"""


def test_fits_of_few_rows_and_all_that_is_public_load_no_slow_library():
    """What takes seconds to load and serves large fits only, or none: the compilers above all."""
    slow = SLOW - {"pandas"}  # scikit-learn itself loads it where it is installed
    unwanted = slow | {
        "torch._dynamo",
        "torch._inductor",
        "sympy",
        "iconlearn.numerics.compiled",
    }
    unwanted |= {"sklearn.ensemble", "sklearn.linear_model", "sklearn.manifold", "sklearn.datasets"}
    code = FIT_OF_FEW.replace("UNWANTED", repr(unwanted)).replace("SLOW", repr(slow))
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == []


# Spelled so that this file does not match itself.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:work|root|home)/(?=\w)")


def test_no_file_names_a_path_of_one_machine():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files belong to the project")
    complaints = []
    for path in project_files():
        for number, line in enumerate(lines_of(path), 1):
            if MACHINE_PATH.search(line):
                complaints.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not complaints, "\n".join(complaints)


def test_files_that_the_code_names_exist():
    """Those in double backquotes, from the package, beside the file or from the root."""
    package, missing = ROOT / FACE, []
    for path in sorted(package.rglob("*.py")):
        for name in re.findall(r"``([\w./]*\w\.py)``", path.read_text("utf-8")):
            if not any((folder / name).exists() for folder in (package, path.parent, ROOT)):
                missing.append(f"{path.relative_to(ROOT)}: {name}")
    assert missing == []


def project_files():
    """What git tracks, and what it would track if it were added."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    files = [ROOT / name for name in listing.split("\0") if name]
    assert files
    return [path for path in files if path.is_file()]


def lines_of(path):
    try:
        return path.read_text("utf-8").splitlines()
    except UnicodeDecodeError:
        return []  # a picture or an archive


@pytest.mark.parametrize("folder", ["work", "root", "home"])
def test_a_machine_path_is_recognised(folder):
    assert MACHINE_PATH.search(f'open("/{folder}/data.csv")')
    assert not MACHINE_PATH.search(f"docs/{folder}/data.csv")


# --- broken houses -------------------------------------------------------------------------------

KNN = {
    "supervisory/__init__.py": "from ._graph import KNN",
    "supervisory/_graph.py": "class KNN: 0",
}

BROKEN = [
    (a_class_has_one_base_of_ours, {"optim.py": "class A: 0\nclass B: 0\nclass C(A, B): 0"}),
    (parameters_are_named_at_their_floor, {"learned.py": "def begin(q, problem): 0"}),
    (parameters_are_named_at_their_floor, {"solve.py": "def solve(plan, *, estimator): 0"}),
    (only_declared_attributes_are_asked_for, {"plan.py": "hasattr(mapper, 'weight')"}),
    (only_declared_attributes_are_asked_for, {"plan.py": "getattr(mapper, 'weight', None)"}),
    (private_attributes_stay_in_their_module, {"solve.py": "def f(rows): return rows._known"}),
    (modules_are_named_by_nouns, {"estimators/_starting.py": ""}),
    (
        a_private_module_serves_several,
        {
            "optim/__init__.py": "from ._loop import minimise",
            "optim/_loop.py": "from ._state import State",
            "optim/_state.py": "",
        },
    ),
    (imports_are_relative, {"optim.py": "from iconlearn.metrics import recall", "metrics.py": ""}),
    (records_are_built_in_one_place, {"optim.py": "Record(1)", "engines.py": "optim.Record(2)"}),
    (private_modules_have_no_list_of_names, {"learned/_base.py": "__all__ = ['q']\nq = 1"}),
    (every_room_has_a_floor, {"attic.py": ""}),
    (imports_run_downward, {"numerics.py": "from .objective import Problem", "objective.py": ""}),
    (imports_run_downward, {"_typing.py": "import iconlearn.numerics", "numerics.py": ""}),
    (imports_run_downward, {"__init__.py": "", "recipes.py": "from iconlearn import Thing"}),
    (imports_run_downward, {"learned/__init__.py": "from .. import mappers", "mappers.py": ""}),
    (no_import_circle, {"optim.py": "from . import metrics", "metrics.py": "from . import optim"}),
    (
        # No two modules import each other here, but the package in between runs its __init__.
        no_import_circle,
        {
            "objective.py": "from .engines._base import Engine",
            "engines/__init__.py": "from ._dense import Dense",
            "engines/_base.py": "",
            "engines/_dense.py": "from ..objective import loss",
        },
    ),
    *(
        (components_are_not_asked_for_by_class, {**KNN, "engines/_dense.py": source})
        for source in [
            "from ..supervisory import KNN\nisinstance(p, KNN)",
            "from ..supervisory import KNN as Near\nisinstance(p, (int, Near))",
            "from .. import supervisory as s\nissubclass(p, int | s.KNN)",
            "from ..supervisory._graph import KNN\nif type(p) is KNN: 0",
            "from ..supervisory import KNN\nmatch p:\n    case KNN(): 0",
        ]
    ),
    (
        no_class_is_estimator_and_module,
        {
            "mappers.py": "from torch import nn\nclass Table(nn.Module): 0",
            "estimators/_base.py": "import sklearn.base\nclass Base(sklearn.base.BaseEstimator): 0",
            "estimators/_all.py": (
                "from ..mappers import Table\nfrom ._base import Base\nclass All(Base, Table): 0"
            ),
        },
    ),
    (
        inheritance_is_shallow,
        {"optim.py": "class A: 0\nclass B(A): 0\nclass C(B): 0\nclass D(C): 0"},
    ),
    *(
        (function_imports_are_lazy_libraries, {"optim.py": source, "metrics.py": ""})
        for source in [
            "def f():\n    from . import metrics",
            "def f():\n    import torch",
            "class A:\n    async def f(self):\n        import sklearn.callbacks",
            "import importlib\nm = importlib.import_module('.metrics', __package__)",
            "def f(name):\n    return __import__(name)",
        ]
    ),
    (slow_libraries_are_imported_lazily, {"neighbors.py": "from pynndescent import NNDescent"}),
    (array_rooms_import_no_torch, {"clusters/_refine.py": "from torch.nn import Parameter"}),
    (slow_libraries_are_imported_lazily, {"__init__.py": "try:\n    import numba\nfinally: 0"}),
]


@pytest.mark.parametrize(("rule", "sources"), BROKEN)
def test_the_rule_bites(rule, sources):
    assert len(rule(House(sources))) == 1


def test_no_rule_bites_a_sound_house():
    sources = {
        **KNN,
        "__init__.py": "from .recipes import tsne\n__version__ = '1'",
        "recipes.py": "from . import __version__, supervisory, _types",
        "_types.py": "",
        "metrics.py": "from .numerics import sqdist",
        "numerics.py": "from . import _types\ndef f():\n    import numba.core",
        "supervisory/_composition.py": "from ._graph import KNN\nclass Walk(KNN): isinstance(0, KNN)",
        "displays.py": (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import matplotlib\n"
            "from .supervisory import Supervisory\nisinstance(0, (int, Supervisory))"
        ),
        "mappers.py": "from torch import nn\nclass Table(nn.Module): isinstance(0, nn.Module)",
    }
    assert [complaint for rule in RULES for complaint in rule(House(sources))] == []


def test_every_rule_has_a_broken_house():
    assert {rule for rule, _ in BROKEN} == set(RULES)
