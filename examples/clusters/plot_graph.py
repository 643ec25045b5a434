"""
Lay out a graph and find its communities
========================================

With ``p="graph"`` X is an adjacency matrix, and there are no features at all.  The graph here is that of a
package on this machine: the modules of scikit-learn, connected where one imports the other.
"""

# %%
# The modules, and who imports whom, read from the source.

import ast
import pathlib

import matplotlib.pyplot as plt
import numpy as np
import sklearn
from matplotlib.collections import LineCollection
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.displays import EmbeddingDisplay
from iconlearn.supervisory import Graph, Walk

ROOT = pathlib.Path(sklearn.__file__).parent
modules = {}
for path in sorted(ROOT.rglob("*.py")):
    parts = ("sklearn", *path.relative_to(ROOT).with_suffix("").parts)
    if not {"tests", "externals", "conftest"} & set(parts):
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
number = {name: k for k, name in enumerate(modules)}


def imported(name, path):
    """Names of modules of the package that a module imports."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (
                ".".join(package.split(".")[: len(package.split(".")) - node.level + 1]) if node.level else ""
            )
            base = ".".join(filter(None, [base, node.module]))
            yield from (base, *(f"{base}.{alias.name}" for alias in node.names))


pairs = [
    (number[name], number[other])
    for name, path in modules.items()
    for other in imported(name, path)
    if other in number and other != name
]
i, j = np.array(pairs).T
A = sparse.csr_array((np.ones(len(i)), (i, j)), shape=(len(modules), len(modules)))
A = A + A.T
# Modules that nearly all others import say nothing about groups.
degree = np.asarray((A > 0).sum(axis=1)).ravel()
common = np.array([".utils" in name for name in modules]) | (degree > 25)
kept = np.flatnonzero(~common)
A = A[kept][:, kept]
part = connected_components(A)[1]
giant = part == np.bincount(part).argmax()
A = (A[giant][:, giant] > 0).astype(float)
names = np.array(list(modules))[kept][giant]
print(f"{A.shape[0]} modules, {A.nnz // 2} imports between them")

# %%
# A layout and ten communities of the same graph.  A walk of two steps places modules near each other that import the
# same ones.

p = Walk(Graph(), length=2)
places = ICONEmbedding(p=p, init="spectral", random_state=0).fit_transform(A)
communities = ICONClustering(n_clusters=10, p=p, random_state=0).fit(A)
labels, sure = communities.labels_, communities.probabilities_.max(axis=1)

rooms = np.array([name.split(".")[1] if "." in name else name for name in names])
titles = []
for c in range(communities.n_clusters_):
    found, counts = np.unique(rooms[labels == c], return_counts=True)
    order = counts.argsort()[::-1][:2]
    titles.append("\n".join(found[order]))
    print(f"{(labels == c).sum():3d} modules: {', '.join(f'{found[k]} {counts[k]}' for k in order)}")
inside = (labels[A.tocoo().row] == labels[A.tocoo().col]).mean()
print(f"{inside:.0%} of the imports stay within a community")

# %%
# Colour is the community, size the number of imports, and pale modules lie between communities.

figure, ax = plt.subplots(figsize=(9.5, 7.5))
figure.subplots_adjust(left=0.02, right=0.98, top=0.94, bottom=0.02)
edges = sparse.triu(A).tocoo()
ends = np.stack([places[edges.row], places[edges.col]], 1)
ax.add_collection(LineCollection(ends, colors="#bbbbbb", linewidths=0.6, zorder=0))
EmbeddingDisplay.from_predictions(
    places, np.array(titles)[labels], ax=ax, labels="medians",
    size=14 + 6 * np.asarray(A.sum(axis=1)).ravel(), alpha=np.clip(sure, 0.25, 1.0),
)  # fmt: skip
ax.set_title(
    "Who imports whom in scikit-learn: ten communities, named after their commonest folders", loc="left"
)
plt.show()
