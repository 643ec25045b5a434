"""p of sequences: words and their contexts, and what comes next."""

from ._cooccurrence import Cooccurrence
from ._sequences import Ahead
from ._tokens import bags_of, holds_words, is_tokens, sentences_of

__all__ = ["Ahead", "Cooccurrence", "bags_of", "holds_words", "is_tokens", "sentences_of"]
