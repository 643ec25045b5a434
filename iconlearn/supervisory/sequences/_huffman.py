"""A binary tree over words, in which frequent ones are near the root.

    q(c|w) = product over the inner nodes n on the path to c of  sigmoid(+- u_w . v_n),     + where the path turns left

The sum over all words is one whatever the scores, and the choice of a word costs as many products as its code has
digits, log2 of the vocabulary or fewer on average.
"""

from __future__ import annotations

import heapq
from functools import cached_property

import numpy as np
from scipy.sparse import csr_array


class HuffmanTree:
    """The tree whose codes are shortest on average, for words of given frequencies.

    Parameters
    ----------
    frequencies : array-like of shape (n_words,)
        Non-negative; words of none have the longest codes.

    Attributes
    ----------
    children : ndarray of int of shape (n_words - 1, 2)
        Left and right child of each inner node, in the order of their making, the root last: words by their number,
        inner node n as n_words + n.
    n_words : int

    References
    ----------
    Huffman, "A method for the construction of minimum-redundancy codes", Proceedings of the IRE 1952; Morin and Bengio,
    "Hierarchical probabilistic neural network language model", AISTATS 2005.
    """

    def __init__(self, frequencies):
        frequencies = np.asarray(frequencies, dtype=float)
        self.n_words = n = len(frequencies)
        if n < 2 or not (np.isfinite(frequencies) & (frequencies >= 0)).all():
            raise ValueError("a tree needs the frequencies of two words or more, none of them negative")
        self.children = np.empty((n - 1, 2), dtype=np.int64)
        # Of equally rare nodes a word goes before an inner node, which keeps the longest code short.
        heap = list(zip(frequencies.tolist(), range(n), strict=True))
        heapq.heapify(heap)
        for node in range(n - 1):
            (a, left), (b, right) = heapq.heappop(heap), heapq.heappop(heap)
            self.children[node] = left, right
            heapq.heappush(heap, (a + b, n + node))

    @cached_property
    def paths(self) -> csr_array:
        """The inner nodes above each word: 1 where its path turns left, 2 where right; (n_words, n_words - 1)."""
        nodes: list[list[int]] = [[] for _ in range(2 * self.n_words - 1)]
        turns: list[list[int]] = [[] for _ in range(2 * self.n_words - 1)]
        for node in range(self.n_words - 2, -1, -1):
            above = self.n_words + node
            for turn, child in enumerate(self.children[node].tolist(), 1):
                nodes[child], turns[child] = [*nodes[above], node], [*turns[above], turn]
            nodes[above], turns[above] = [], []
        lengths = [len(path) for path in nodes[: self.n_words]]
        flat = [node for path in nodes[: self.n_words] for node in path]
        data = [turn for path in turns[: self.n_words] for turn in path]
        shape = (self.n_words, self.n_words - 1)
        return csr_array((data, flat, np.concatenate([[0], np.cumsum(lengths)])), shape=shape, dtype=float)

    @property
    def code_lengths(self) -> np.ndarray:
        """Digits of the code of each word, shape (n_words,)."""
        return np.diff(self.paths.indptr)

    def log_probabilities(self, scores) -> np.ndarray:
        """Logarithms of the words' probabilities.

        Parameters
        ----------
        scores : array-like of shape (n_rows, n_words - 1)
            u . v of each row with each inner node.

        Returns
        -------
        ndarray of shape (n_rows, n_words)
            The exponentials of each row sum to one.
        """
        scores = np.asarray(scores, dtype=float)
        left, right = -np.logaddexp(0, -scores), -np.logaddexp(0, scores)
        turns_left, turns_right = (self.paths == 1).astype(float), (self.paths == 2).astype(float)
        return (turns_left @ left.T + turns_right @ right.T).T

    def masses(self, P):
        """What rows of probabilities over words have below the inner nodes.

        Parameters
        ----------
        P : csr_array of shape (n_rows, n_words)

        Returns
        -------
        below, left : csr_array of shape (n_rows, n_words - 1)
            Of one pattern: the mass below each node, where there is any, and that below its left child.
        """
        turns_left = self.paths.copy()
        turns_left.data = (turns_left.data == 1).astype(float)
        every = self.paths.copy()
        every.data = np.ones_like(every.data)
        below, both = csr_array(P @ every), csr_array(P @ (every + turns_left))
        below.sort_indices()
        both.sort_indices()
        left = csr_array((both.data - below.data, below.indices, below.indptr), shape=below.shape)
        left.data[left.data < np.finfo(float).eps * 8 * below.data] = 0.0
        all_left = left.data > (1.0 - np.finfo(float).eps * 8) * below.data
        left.data[all_left] = below.data[all_left]
        return below, left
