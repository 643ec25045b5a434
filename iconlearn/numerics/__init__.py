"""Arithmetic that is independent of p and q: distances, eigenvectors of graphs, threads and compiled loops."""
