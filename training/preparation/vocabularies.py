"""Which values a model knows: those that the training part shows more than once."""

from collections.abc import Iterable

import numpy as np

from eventmodel.schema import IdField, Schema
from training.preparation.row_reader import RowReader, vocabulary_of

LEAST_COUNT = 2
"""A value enters its vocabulary when the training part shows it this often: id 0 is learned
from the values seen once."""


def learn_vocabularies(
    schema: Schema, reader: RowReader, training: Iterable[np.ndarray]
) -> tuple[dict[str, list[str]], dict[str, np.ndarray]]:
    """Values seen at least twice in the training part, the most frequent first, then by text.

    Fields that share a vocabulary are counted together.

    Args:
        training: the training part's ``Rows.names`` in any order, some rows at a time.

    Returns:
        By vocabulary: its values; and the id of each number of a name, 0 for those that are no values
        (the last one is that of a blank, so that -1 finds it).
    """
    count = {name: np.zeros(len(reader.numbers[name]), np.int64) for name in schema.vocabularies}
    for names in training:
        for i, field in enumerate(reader.named):
            if isinstance(field, IdField):
                found = names[:, i][names[:, i] >= 0]
                count[vocabulary_of(field)] += np.bincount(found, minlength=len(count[vocabulary_of(field)]))
    vocabularies, id_of = {}, {}
    for name, counts in count.items():
        texts = list(reader.numbers[name])
        learned = sorted(np.flatnonzero(counts >= LEAST_COUNT).tolist(), key=lambda i: (-counts[i], texts[i]))
        vocabularies[name] = [texts[i] for i in learned]
        id_of[name] = np.zeros(len(texts) + 1, np.int32)
        id_of[name][learned] = np.arange(1, len(learned) + 1)
    return vocabularies, id_of
