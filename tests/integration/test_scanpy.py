"""scanpy and anndata themselves; `make test-integration` has them."""

import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

import iconlearn
from iconlearn import NeighborsTransformer

sc = pytest.importorskip("scanpy", reason="scanpy is not installed")
anndata = pytest.importorskip("anndata", reason="anndata is not installed")


@pytest.fixture
def adata():
    X, y = load_digits(return_X_y=True)
    adata = anndata.AnnData(X[:500].astype(np.float32))
    adata.obs["digit"] = y[:500].astype(str)
    sc.pp.pca(adata, n_comps=30)
    return adata


def test_neighbors_by_the_transformer(adata):
    sc.pp.neighbors(adata, transformer=NeighborsTransformer(15), use_rep="X_pca", key_added="ours")
    sc.pp.neighbors(adata, n_neighbors=16, use_rep="X_pca", key_added="theirs", transformer="sklearn")
    ours, theirs = (adata.obsp[f"{name}_distances"] for name in ("ours", "theirs"))
    # The explicit zeros of the diagonal are left in by scanpy for an instance, and taken out for a name.
    ours.eliminate_zeros()
    np.testing.assert_allclose(ours.toarray(), theirs.toarray(), atol=1e-3)
    assert adata.uns["ours"]["params"]["n_neighbors"] == 15
    sc.tl.leiden(adata, neighbors_key="ours", flavor="igraph", n_iterations=2, directed=False)
    assert adata.obs["leiden"].nunique() > 3


def test_a_session_and_its_file(adata, tmp_path):
    sc.pp.neighbors(adata, n_neighbors=15, use_rep="X_pca")
    iconlearn.anndata.embed(adata, max_iter=50)
    iconlearn.anndata.embed(adata, neighbors_key="neighbors", key_added="X_of_graph", max_iter=50)
    iconlearn.anndata.cluster(adata, 10, n_init=2, p=iconlearn.supervisory.KNN(20))
    few = adata.obs["digit"].copy()
    few[100:] = None
    adata.obs["few"] = few
    iconlearn.anndata.annotate(adata, "few")
    assert (adata.obs["icon_label"] == adata.obs["digit"]).mean() > 0.85
    sc.pl.embedding(adata, "X_icon", color=["icon_cluster", "icon_label"], show=False)
    sc.tl.rank_genes_groups(adata, "icon_cluster", method="t-test")
    adata.write_h5ad(tmp_path / "cells.h5ad")
    again = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert again.uns["icon_cluster"]["params"]["p"] == "supervisory.KNN(n_neighbors=20)"
    assert list(again.obs["icon_cluster"].cat.categories) == [str(k) for k in range(10)]
    np.testing.assert_array_equal(again.obsm["X_icon"], adata.obsm["X_icon"])
    part = adata[:200]
    iconlearn.anndata.embed(part, max_iter=20, copy=True)
    iconlearn.anndata.embed(part, key_added="X_part", max_iter=20)
    assert part.obsm["X_part"].shape == (200, 2) and "X_part" not in adata.obsm


def test_importing_the_functions_does_not_import_the_package():
    code = "import sys, iconlearn; iconlearn.anndata.embed; print('anndata' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr
