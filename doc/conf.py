"""Sphinx: theory and guides in Markdown, the API from docstrings, the gallery from examples/."""

import os
import sys
from pathlib import Path

import iconlearn

sys.path.insert(0, str(Path(__file__).parent))
import make_benchmarks

# The page of the benchmarks is written anew from their csv files.
make_benchmarks.write()

project = "iconlearn"
copyright = "iconlearn developers"
version = release = iconlearn.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "object_links",
]
# Links to other projects need their inventories, so they are made where the builder says that there is a network.
if os.environ.get("DOC_ONLINE"):
    intersphinx_mapping = {
        "numpy": ("https://numpy.org/doc/stable", None),
        "python": ("https://docs.python.org/3", None),
        "scipy": ("https://docs.scipy.org/doc/scipy", None),
        "sklearn": ("https://scikit-learn.org/stable", None),
        "torch": ("https://docs.pytorch.org/docs/stable", None),
    }
exclude_patterns = ["_build", "_templates", "auto_examples/*.ipynb"]
# The links of the periodic table go to plain HTML anchors, so that they work wherever Markdown is shown.
suppress_warnings = ["myst.xref_missing"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "dollarmath"]

autosummary_generate = True
html_math_renderer = "mathml"
templates_path = ["_templates"]
# What scikit-learn adds to a class for its metadata routing is described there.
autodoc_default_options = {
    "exclude-members": "set_fit_request, set_score_request, set_transform_request, set_inverse_transform_request, "
    "set_partial_fit_request"
}
# Each parameter has a line of its own where they need more than one; headings name methods without their class.
maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"
# Methods have their place on the page of their class.
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
default_role = "literal"

html_theme = "pydata_sphinx_theme"
html_title = "iconlearn"
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "header_links_before_dropdown": 6,
    # Scripts and wide tables have the room of the list of headings.
    "secondary_sidebar_items": {
        "*": ["page-toc", "sourcelink"],
        "generated/*": ["page-toc", "sourcelink"],
        "auto_examples/index": ["page-toc", "sourcelink"],
        "index": [],
        "periodic_table": [],
    },
}
# These have no pages beside them, and wide tables.
html_sidebars = {"index": [], "changes": [], "results": [], "periodic_table": []}
html_static_path = ["_static"]
html_css_files = ["site.css"]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "subsection_order": [
        f"../examples/{group}" for group in ("maps", "clusters", "few_labels", "contrast", "formula")
    ],
    # A script may open with what it shows first.
    "thumbnail_size": (400, 280),
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"demo\.py",
    "show_memory": False,
    "abort_on_example_error": True,
}
