"""Which texts say the same but for a few characters: such texts must not stand on both sides of a split."""

from collections.abc import Sequence
from typing import Final

from datasketch import MinHash, MinHashLSH

SIMILARITY: Final = 0.8
_SHINGLE_CHARS: Final = 5
_PERMUTATIONS: Final = 128


def group_near_duplicates(texts: Sequence[str], similarity: float = SIMILARITY) -> list[int]:
    """Group texts whose sets of 5-character shingles have at least a Jaccard similarity, chains included.

    Candidates come from MinHash with locality-sensitive hashing (Broder 1997), and are then compared exactly: nothing
    is grouped that is not similar; a pair at the very threshold may be missed.

    Returns:
        For each text the index of the first text of its group.
    """
    shingles = [_shingles(text) for text in texts]
    first = list(range(len(texts)))

    def root(index: int) -> int:
        while first[index] != index:
            first[index] = first[first[index]]
            index = first[index]
        return index

    index_of_similar = MinHashLSH(threshold=similarity, num_perm=_PERMUTATIONS)
    for index, signature in enumerate(MinHash.generator([list(each) for each in shingles], num_perm=_PERMUTATIONS)):
        for candidate in index_of_similar.query(signature):
            if _jaccard(shingles[index], shingles[candidate]) >= similarity:
                older, newer = sorted((root(candidate), root(index)))
                first[newer] = older
        index_of_similar.insert(index, signature)
    return [root(index) for index in range(len(texts))]


def _shingles(text: str) -> frozenset[bytes]:
    folded = text.casefold()
    return frozenset(
        folded[start : start + _SHINGLE_CHARS].encode() for start in range(max(1, len(folded) - _SHINGLE_CHARS + 1))
    )


def _jaccard(one: frozenset[bytes], other: frozenset[bytes]) -> float:
    return len(one & other) / len(one | other)
