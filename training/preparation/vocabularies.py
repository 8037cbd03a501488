"""Which values a model knows: those that its training part shows more than once."""

from collections.abc import Iterable

import numpy as np

from eventmodel.codec import Vocabularies
from eventmodel.coders import IdCoder
from eventmodel.schema import IdField, Schema
from training.preparation.row_reader import RowReader

LEAST_COUNT = 2
"""A value enters its vocabulary when the training part shows it this often: id 0 is learned
from the values seen once."""


def learn_vocabularies(schema: Schema, reader: RowReader, training: Iterable[np.ndarray]) -> dict[str, list[str]]:
    """Values seen at least twice in the training part, the most frequent first, then by text.

    Fields that share a vocabulary are counted together.

    Args:
        training: the training part's ``Rows.names`` in any order, some rows at a time.
    """
    count = {name: np.zeros(len(reader.numbers[name]), np.int64) for name in schema.vocabularies}
    for names in training:
        for i, field in enumerate(reader.named):
            if isinstance(field, IdField):
                found = names[:, i][names[:, i] >= 0]
                count[field.names_from] += np.bincount(found, minlength=len(count[field.names_from]))
    vocabularies = {}
    for name, counts in count.items():
        texts = list(reader.numbers[name])
        learned = sorted(np.flatnonzero(counts >= LEAST_COUNT).tolist(), key=lambda i: (-counts[i], texts[i]))
        vocabularies[name] = [texts[i] for i in learned]
    return vocabularies


def ids_of_numbers(reader: RowReader, vocabularies: Vocabularies) -> dict[str, np.ndarray]:
    """By vocabulary, the id of each number of a name, 0 for those that are no values.

    The last one is that of a blank, so that -1 finds it.
    """
    result = {}
    for name, values in vocabularies.items():
        coder = IdCoder(values)
        of_names = [coder.encode(text)[0] for text in reader.numbers[name]]
        result[name] = np.array([*of_names, 0], np.int32)
    return result
