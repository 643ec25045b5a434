"""Arithmetic that knows nothing of p and q: distances, eigenvectors of graphs, threads and compiled loops."""
