"""Word vectors of a fit: which words are alike, analogies, and features of sentences.

A model here is a fitted :class:`iconlearn.ICONEmbedding` whose X was lists of tokens, such as those of
:func:`iconlearn.recipes.skip_gram` and :func:`iconlearn.recipes.cbow`.
"""

from __future__ import annotations

import numpy as np

from ._checks import check_number, suggest
from ._warnings import warn
from .supervisory import bags_of, sentences_of

__all__ = [
    "analogy",
    "analogy_accuracy",
    "inverse_document_frequencies",
    "most_similar",
    "sentence_vectors",
    "word_vectors",
]


def word_vectors(model, *, both=False):
    """The vector of each word, in the order of ``model.vocabulary_``.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    both : bool, default=False
        Whether to add the vector that each word has on the other side, ``column_embedding_``.  Words are then alike
        that occur together as well as those that occur in the same company, which is what topics are made of.

    Returns
    -------
    ndarray of shape (n_words, n_components)
        Where rows are words (skip-gram), their places, ``embedding_``.  Where rows are bags of words (CBOW), what the
        mapper gives for one word alone: the input vectors, as word2vec has them.  Where rows are words in their order,
        what it gives for the word before.  Those of the other side are ``column_embedding_``.

    References
    ----------
    Pennington, Socher and Manning, "GloVe: global vectors for word representation", EMNLP 2014 (the sum of both).
    """
    vocabulary = _vocabulary(model)
    if len(model.embedding_) == len(vocabulary) and not model.p_.requires_y:
        own = np.array(model.embedding_)
    else:
        own = np.asarray(model.transform([[str(word)] for word in vocabulary]))
    if not both:
        return own
    if model.column_embedding_.shape != own.shape:
        raise ValueError(
            f"both=True adds the vectors of words as columns, and this fit has {len(model.column_embedding_)} columns "
            f"for {len(own)} words; use both=False"
        )
    return own + model.column_embedding_


def most_similar(model, word, n=10):
    """The words whose vectors point most nearly the same way.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    word : str
    n : int, default=10
        How many words, the word itself not among them.

    Returns
    -------
    list of tuple of (str, float)
        Words and their cosines, the nearest first.

    Raises
    ------
    ValueError
        For a word that is not in ``vocabulary_``.
    """
    number = check_number("n", n, low=1, integer=True)
    U, place = _unit(word_vectors(model)), _places(model, [word])
    return _nearest(model, U, U[place[0]], place, number)


def analogy(model, a, b, c, n=1):
    """The words that are to c what b is to a: those nearest to ``b - a + c``.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    a, b, c : str
        As in "man is to king as woman is to ...".
    n : int, default=1
        How many words, the three given ones not among them.

    Returns
    -------
    list of tuple of (str, float)
        Words and the cosines of their vectors with the sum of the unit vectors of the three, the nearest first.

    Raises
    ------
    ValueError
        For a word that is not in ``vocabulary_``.

    References
    ----------
    Mikolov, Yih and Zweig, "Linguistic regularities in continuous space word representations", NAACL 2013.
    """
    number = check_number("n", n, low=1, integer=True)
    U, place = _unit(word_vectors(model)), _places(model, [a, b, c])
    return _nearest(model, U, U[place[1]] - U[place[0]] + U[place[2]], place, number)


def analogy_accuracy(model, questions):
    """The share of analogies whose first answer is the right word.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    questions : sequence of (a, b, c, d)
        Words such that d is to c what b is to a.  Those with a word that the vocabulary lacks are left out, of which
        a warning tells.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        Where a question has not four words, or no question is left.
    """
    questions = [tuple(question) for question in questions]
    if any(len(question) != 4 for question in questions):
        wrong = next(question for question in questions if len(question) != 4)
        raise ValueError(f"a question must hold four words (a, b, c, d), got {wrong!r:.100}")
    number = {word: k for k, word in enumerate(_vocabulary(model))}
    known = [question for question in questions if all(word in number for word in question)]
    if not known:
        raise ValueError(
            f"none of the {len(questions)} questions has four words of vocabulary_; give others, or lower min_count"
        )
    if len(known) < len(questions):
        warn(
            f"{len(questions) - len(known)} of {len(questions)} questions have words that vocabulary_ lacks, and are "
            f"left out"
        )
    U = _unit(word_vectors(model))
    at = np.array([[number[word] for word in question] for question in known])
    cosines = (U[at[:, 1]] - U[at[:, 0]] + U[at[:, 2]]) @ U.T
    np.put_along_axis(cosines, at[:, :3], -np.inf, axis=1)
    return float(np.mean(cosines.argmax(axis=1) == at[:, 3]))


def inverse_document_frequencies(model, sentences):
    """How telling each word is: ``log((1 + n) / (1 + n_w)) + 1`` where n_w of n sentences have it.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    sentences : list of list of str

    Returns
    -------
    ndarray of shape (n_words,)

    References
    ----------
    Sparck Jones, "A statistical interpretation of term specificity and its application in retrieval", Journal of
    Documentation 1972; smoothed as scikit-learn's TfidfTransformer does it.
    """
    bags = _bags(model, sentences)
    having = np.bincount(bags.indices, minlength=bags.shape[1])
    return np.log((1.0 + bags.shape[0]) / (1.0 + having)) + 1.0


def sentence_vectors(model, sentences, *, idf=True, both=False):
    """Features of sentences: the mean of the vectors of their words.

    Parameters
    ----------
    model : ICONEmbedding
        Fitted to lists of tokens.
    sentences : list of list of str
        Words that the vocabulary lacks say nothing.
    idf : bool or ndarray of shape (n_words,), default=True
        The weights of the words in that mean: as :func:`inverse_document_frequencies` finds them in these sentences,
        or those of others, such as the training sentences'; False weighs all alike.
    both : bool, default=False
        As for :func:`word_vectors`.

    Returns
    -------
    ndarray of shape (n_sentences, n_components)
        Zero for a sentence without any known word.

    Examples
    --------
    >>> from iconlearn import recipes, words
    >>> lines = [["ice", "is", "cold"], ["fire", "is", "hot"], ["snow", "is", "cold"]]
    >>> model = recipes.skip_gram(n_components=2, max_iter=5, random_state=0).fit(lines)
    >>> words.sentence_vectors(model, [["cold", "ice"], ["hot"]]).shape
    (2, 2)
    """
    bags = _bags(model, sentences)
    if not isinstance(idf, bool):
        weights = np.asarray(idf, dtype=float)
        if weights.shape != (bags.shape[1],):
            raise ValueError(
                f"idf has shape {weights.shape}: it must be True, False, or a weight for each of the {bags.shape[1]} "
                f"words of vocabulary_"
            )
    else:
        weights = inverse_document_frequencies(model, sentences) if idf else np.ones(bags.shape[1])
    bags.data = bags.data * weights[bags.indices]
    total = np.asarray(bags.sum(axis=1))
    return (bags @ word_vectors(model, both=both)) / np.where(total > 0, total, 1.0)[:, None]


def _vocabulary(model):
    vocabulary = getattr(model, "vocabulary_", None)
    if vocabulary is None:
        raise ValueError(
            f"{type(model).__name__} has no vocabulary_: fit it to lists of words, as "
            f"recipes.skip_gram().fit([['a', 'sentence'], ...]) does"
        )
    return vocabulary


def _bags(model, sentences):
    found = sentences_of(sentences)
    if found is None:
        raise ValueError(
            f"sentences must be lists of words, got {sentences!r:.80}; split texts first, as in "
            f"[text.split() for text in texts]"
        )
    return bags_of(found, _vocabulary(model))


def _places(model, words):
    """Numbers of words in the vocabulary."""
    number = {word: k for k, word in enumerate(_vocabulary(model))}
    for word in words:
        if word not in number:
            raise ValueError(
                f"{word!r} is not in vocabulary_, which has the {len(number)} words that the fit has kept."
                f"{suggest(str(word), number)}"
            )
    return [number[word] for word in words]


def _unit(vectors):
    vectors = np.asarray(vectors, dtype=float)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _nearest(model, U, vector, without, n):
    length = np.linalg.norm(vector)
    cosines = U @ (vector / (length if length > 0 else 1.0))
    cosines[without] = -np.inf
    order = np.argsort(-cosines, kind="stable")[: min(n, len(U) - len(set(without)))]
    return [(str(model.vocabulary_[k]), float(cosines[k])) for k in order]
