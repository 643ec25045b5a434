"""Sphinx extension: names in code font become links to their pages.

``ICONEmbedding``, ``supervisory.KNN``, ``recipes.tsne`` and the like, as written in Markdown, to the API,
``examples/clusters/plot_graph.py`` to the gallery, and ``benchmarks/embedding.py`` to the page of results; a name that
has no page stays as it is.  And classes have the signature that Python shows.
"""

import inspect
import re

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

import iconlearn

MODULES = (
    "anndata", "displays", "divergences", "engines", "learned", "mappers", "metrics", "neighbors", "optim", "recipes",
    "scorers", "supervisory",
)  # fmt: skip
# Links already; and titles, which are copied into tables of contents, where no reference is resolved.
CLOSED = (addnodes.pending_xref, nodes.reference, nodes.title)
SCRIPT = re.compile(r"(?:python )?(examples|benchmarks)/([\w/]+)\.py( .*)?")
CALL = re.compile(r"([A-Za-z_][\w.]*)(?:\(.*\))?", re.DOTALL)


def documented_names():
    """Full names by the names that pages use; one that several modules have (``Gaussian``) needs the module's name."""
    full = {name: f"iconlearn.{name}" for name in iconlearn.__all__}
    short = {}
    for module in MODULES:
        room = getattr(iconlearn, module)
        for name in room.__all__:
            target = f"iconlearn.{module}.{name}"
            if not inspect.ismodule(getattr(room, name)):
                full[f"{module}.{name}"] = full[target] = target
                # Recipes have the names of p and q as well.
                if module != "recipes":
                    short.setdefault(name, []).append(target)
    return {name: found[0] for name, found in short.items() if len(found) == 1} | full


def target_of(text, names):
    """The full name of what is written, an object or a method of one; None where it is neither."""
    written = CALL.fullmatch(text)
    if written is None:
        return None
    owner, _, method = written[1].rpartition(".")
    return names.get(written[1]) or (f"{names[owner]}.{method}" if owner in names else None)


def reference_of(text, names, env):
    """What a reference to what is written needs; None where there is no page of it."""
    script = SCRIPT.fullmatch(text)
    if script is not None:
        page = f"auto_examples/{script[2]}" if script[1] == "examples" else "benchmarks"
        return (
            {"refdomain": "std", "reftype": "doc", "reftarget": f"/{page}"}
            if page in env.found_docs
            else None
        )
    target = target_of(text, names)
    return None if target is None else {"refdomain": "py", "reftype": "obj", "reftarget": target}


class LinkNames(SphinxTransform):
    """Put a reference around each literal that names an object or a script."""

    default_priority = 5

    def apply(self, **kwargs):
        names = documented_names()
        for literal in list(self.document.findall(nodes.literal)):
            target = reference_of(literal.astext(), names, self.env)
            if target is None or any(isinstance(node, CLOSED) for node in ancestors(literal)):
                continue
            link = addnodes.pending_xref(
                "", refexplicit=True, refwarn=False, refdoc=self.env.docname, **target
            )
            literal.replace_self(link)
            link += literal


def ancestors(node):
    """The nodes around a node, the nearest first."""
    while node.parent is not None:
        node = node.parent
        yield node


def signature_of(app, what, name, obj, options, args, returned):
    """The parameters of a class as Python shows them; autodoc prefers those of an inherited ``__new__``."""
    return (
        (str(inspect.signature(obj)), returned) if what == "class" and args == "(*args, **params)" else None
    )


def setup(app):
    app.add_transform(LinkNames)
    app.connect("autodoc-process-signature", signature_of)
    return {"parallel_read_safe": True}
