"""The strength of a secret against guesses by known words, repetitions and rows of keys."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from itertools import pairwise

_WORDS = (
    r"s[e3]cr[e3]ts?",
    r"p[a@4][s$5]{2}(?:w[o0]rd|phrase)?",
    r"(?:ch[a4]ng|r[e3]plac)[e3][\W_]*(?:m[e3]|this|it|now)?",
    r"f[i1]rst[\W_]*c[o0]m[e3]",
    "flask|django|insecure|example|sample|dummy|default|production|development|staging|testing|super|admin",
    r"insert|enter|here|please|your?|random|string|secure|token[\W_]*hex|import|print|private|key|long|very|value",
    "qwertyuiop|asdfghjkl|zxcvbnm|1q2w3e4r|letmein|deadbeef|cafebabe|loremipsum|this|that|must|should|characters?|bytes?",
    r"correct[\W_]*horse[\W_]*battery[\W_]*staple|the[\W_]*quick[\W_]*brown[\W_]*fox|lazy[\W_]*dog",
)
_KNOWN = re.compile("|".join(_WORDS), re.IGNORECASE)


def bits(secret: str) -> float:
    """Estimate from below how many bits a secret holds; a random secret keeps nearly all of its own.

    Known words count for nothing. Three characters that came before count once. Repeated steps, as in `abcdef`, count
    as little as repeated characters.
    """
    rest = [ord(character) for character in _KNOWN.sub("", secret)]
    new = len({tuple(rest[at : at + 3]) for at in range(len(rest))})
    # `abcdef` has six different characters and only one kind of step; the smaller surprise is the honest one.
    steps = (after - before for before, after in pairwise(rest))
    return new * min(_surprise(rest), _surprise(steps))


def _surprise(symbols: Iterable[int]) -> float:
    """Return Shannon's entropy of one symbol, in bits."""
    counts = Counter(symbols)
    total = counts.total()
    return sum(count / total * math.log2(total / count) for count in counts.values())
