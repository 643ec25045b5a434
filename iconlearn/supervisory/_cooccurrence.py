"""Words and the company they keep: p(context | word) from counts within a window.

    skip-gram   p(c|w) ∝ C_wc / f_c^discount,      f_c = sum_w C_wc,      the weight of word w is sum_c C_wc
    CBOW        p(w|bag) = 1[w is the word in the middle],      a bag is the mean of the words around it

Frequent words are thinned as word2vec does it, in expectation instead of by chance: a word of frequency f
keeps the share min(1, sqrt(t / f) + t / f).

Without a discount every word's vector has to say how frequent the contexts are, which makes all of them alike.
Negative sampling takes that off: with negatives drawn in proportion to f_c^a its optimum is
u_w . v_c = log(p(c|w) / f_c^a) up to a constant, and word2vec has a = 3/4.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array, csr_array

from .._checks import check_choice, check_number
from ..conditional import Conditional, normalize_rows
from ._base import Supervisory, warn_empty

__all__ = ["Cooccurrence"]

# Characters of a vocabulary in which every word may take as much memory as the longest.
MAX_PADDED = 10**7


class Cooccurrence(Supervisory):
    """p(context | word), or p(word | context), from tokens or from counts.

    X is a list of lists of tokens (or a Series or an array of such lists; the estimator then has ``vocabulary_``), or
    a matrix of counts with a row per word and a column per context.

    Parameters
    ----------
    window : int, default=5
        Words to each side that count as context (tokens only).
    mode : {"skipgram", "cbow"}, default="skipgram"
        "skipgram": rows are words, columns contexts.  "cbow": rows are bags of context words, one for every
        token, columns words; tokens only.
    min_count : int, default=1
        Rarer words are left out before windows are made (tokens only).
    subsample : float or None, default=None
        t in the formula above; 1e-3 to 1e-5 are usual.  None keeps everything.
    dynamic : bool, default=True
        Whether a word at distance d counts (window + 1 - d) / window, as if the window were drawn at random.
    discount : float, default=0.0
        How much of the contexts' own frequency is taken off p, in [0, 1]; at 1 rows are in proportion to the
        exponential of pointwise mutual information ("skipgram" only).

    Attributes
    ----------
    conditional_ : Conditional
        Rows without any count carry no mass.

    References
    ----------
    Mikolov et al., "Distributed representations of words and phrases and their compositionality", NeurIPS
    2013; Levy and Goldberg, "Neural word embedding as implicit matrix factorization", NeurIPS 2014; Levy, Goldberg
    and Dagan, "Improving distributional similarity with lessons learned from word embeddings", TACL 2015.
    """

    columns = "contexts"

    def __init__(self, window=5, *, mode="skipgram", min_count=1, subsample=None, dynamic=True, discount=0.0):
        self.window = window
        self.mode = mode
        self.min_count = min_count
        self.subsample = subsample
        self.dynamic = dynamic
        self.discount = discount

    @property
    def requires_y(self):
        return self.mode == "cbow"

    def prepare(self, X):
        """Counts (or bags and their words) of token lists.

        Parameters
        ----------
        X : list of list of str

        Returns
        -------
        X : csr_array
            Counts of shape (n_words, n_words), or bags of shape (n_tokens, n_words).
        y : ndarray of int or None
            The word in the middle of each bag.
        vocabulary : ndarray of str of shape (n_words,)
            Most frequent first.
        """
        self._check()
        words, codes, sentence = self._encode(X)
        n = len(words)
        i, j, weight = self._neighbours(codes, sentence)
        if self.mode == "skipgram":
            counts = csr_array(
                coo_array(
                    (np.r_[weight, weight], (np.r_[codes[i], codes[j]], np.r_[codes[j], codes[i]])), (n, n)
                )
            )
            return counts, None, words
        size = len(codes)
        bags = csr_array(
            coo_array((np.r_[weight, weight], (np.r_[i, j], np.r_[codes[j], codes[i]])), (size, n))
        )
        has = np.diff(bags.indptr) > 0
        return normalize_rows(bags)[has], codes[has], words

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Normalise the counts; see :meth:`Supervisory.fit`."""
        self._check()
        if self.mode == "cbow":
            codes = np.asarray(y) if y is not None else None
            if codes is None or not np.issubdtype(codes.dtype, np.integer) or len(codes) != X.shape[0]:
                raise ValueError("Cooccurrence(mode='cbow') needs tokens: give X as a list of lists of words")
            n_words = X.shape[1]
            keep = self._keep(np.bincount(codes, minlength=n_words))
            n = len(codes)
            edges = csr_array((np.ones(n), codes, np.arange(n + 1)), shape=(n, n_words))
            self.conditional_ = Conditional(edges, mass=keep[codes])
            return self
        counts = csr_array(X, dtype=float, copy=True)
        counts.sum_duplicates()
        if counts.data.min(initial=0.0) < 0:
            raise ValueError(
                f"the counts have a negative entry ({counts.data.min():g}): all must be at least 0"
            )
        rows = np.repeat(np.arange(counts.shape[0]), np.diff(counts.indptr))
        of_word = self._keep(np.asarray(counts.sum(axis=1)).ravel())
        of_context = self._keep(np.asarray(counts.sum(axis=0)).ravel())
        counts.data *= of_word[rows] * of_context[counts.indices]
        mass = np.asarray(counts.sum(axis=1)).ravel()
        frequency = np.asarray(counts.sum(axis=0)).ravel()
        # A context that never occurred carries no information about a new word.
        frequency[frequency == 0] = np.inf
        self._weights = of_context * frequency**-self.discount
        counts.data *= frequency[counts.indices] ** -self.discount
        edges = normalize_rows(counts)
        warn_empty(np.diff(edges.indptr) > 0, "any count", "give positive counts, or a wider window")
        self.conditional_ = Conditional(edges, mass=mass)
        return self

    def _extend(self, X_new, n_jobs):
        if self.mode == "cbow":
            raise ValueError(
                "Cooccurrence(mode='cbow') has no p for new bags; a linear mapper maps them without one"
            )
        counts = csr_array(X_new, dtype=float, copy=True)
        if counts.shape[1] != self.conditional_.n_cols:
            raise ValueError(
                f"X has {counts.shape[1]} contexts, but p was fitted on {self.conditional_.n_cols}"
            )
        counts.data *= self._weights[counts.indices]
        return Conditional(normalize_rows(counts))

    def _check(self):
        check_number("window", self.window, low=1, integer=True)
        check_choice("mode", self.mode, ["skipgram", "cbow"])
        check_number("min_count", self.min_count, low=1, integer=True)
        check_number("discount", self.discount, low=0, high=1)
        if self.subsample is not None:
            check_number("subsample", self.subsample, low=0, closed="neither", hint="1e-3 to 1e-5 are usual")

    def _keep(self, counts):
        """The share of each word that is kept."""
        if self.subsample is None:
            return np.ones(len(counts))
        frequency = np.maximum(counts / max(counts.sum(), 1e-300), 1e-300)
        return np.minimum(1.0, np.sqrt(self.subsample / frequency) + self.subsample / frequency)

    def _encode(self, X):
        """Vocabulary, the code of every kept token, and the sentence it stands in."""
        lengths = [len(tokens) for tokens in X]
        sentence = np.repeat(np.arange(len(lengths)), lengths)
        # Not as an array of strings, in which all tokens would be as wide as the longest.
        code_of: dict[str, int] = {}
        tokens = (code_of.setdefault(str(token), len(code_of)) for row in X for token in row)
        found = np.fromiter(tokens, dtype=np.int64, count=sum(lengths))
        words, place = sorted(code_of), np.empty(len(code_of), dtype=np.int64)
        place[[code_of[word] for word in words]] = np.arange(len(words))
        codes = place[found]
        counts = np.bincount(codes, minlength=len(words))
        kept = np.flatnonzero(counts >= self.min_count)
        if len(kept) < 2:
            raise ValueError(
                f"fewer than two words occur at least min_count={self.min_count} times; lower min_count or give "
                f"more tokens"
            )
        order = kept[np.argsort(-counts[kept], kind="stable")]
        rank = np.full(len(words), -1)
        rank[order] = np.arange(len(order))
        on = rank[codes] >= 0
        return _as_array([words[i] for i in order]), rank[codes][on], sentence[on]

    def _neighbours(self, codes, sentence):
        """Positions (i, j), i before j, of the words within a window, and their weights."""
        i, j, weight = [], [], []
        for d in range(1, self.window + 1):
            together = np.flatnonzero(sentence[:-d] == sentence[d:])
            i.append(together)
            j.append(together + d)
            share = (self.window + 1 - d) / self.window if self.dynamic else 1.0
            weight.append(np.full(len(together), share))
        i, j, weight = map(np.concatenate, (i, j, weight))
        if not len(i):
            raise ValueError("no two tokens stand in one window; give sentences of at least two words")
        return i, j, weight


def _as_array(words):
    """Words as an array of strings; of objects where one is so long that the array would be mostly empty."""
    longest = max(map(len, words), default=0)
    wide = longest * len(words) > max(MAX_PADDED, 2 * sum(map(len, words)))
    return np.array(words, dtype=object if wide else str)
