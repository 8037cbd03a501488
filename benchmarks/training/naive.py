"""The naive data path, to compare with: a ``DataLoader`` of samples that Python makes event by event."""

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from eventmodel.batch import Batch, MemoryBatch, Reads, SequenceBatch, StreamBatch, Targets
from eventmodel.codec import MICROSECONDS
from eventmodel.entities import read_histories
from eventmodel.time_context import N_GAP_BUCKETS
from training.sampling import Sampler

Sample = tuple[Batch, Targets]


class NaiveSamples(Dataset[Sample]):
    """Samples by position of the focus stream's index; now is the event there. Nothing is hidden, dropped or cut."""

    def __init__(self, sampler: Sampler) -> None:
        self.sampler, self.log, self.config = sampler, sampler.log, sampler.config
        schema = self.log.schema
        self.slot_kind = torch.tensor([kind for kind, s in enumerate(schema.streams) for _ in range(s.max_entities)])

    def __getitem__(self, position: int) -> Sample:
        """A batch of one."""
        index, schema, timestamps = self.log.focus, self.log.schema, self.log.events.timestamp
        row = int(index.rows[position])
        now, focus = int(timestamps[row]), int(index.entity_at(np.array(position)))
        histories = read_histories(schema, self.log.streams, focus, row, self.config.context_length)

        streams, place, own, gaps = [], [], [], []
        n_entities = 0
        for stream in schema.streams:
            width = max(len(history.rows) for history in histories[stream.name])
            read = []
            for history in histories[stream.name]:
                n_entities += 1
                place.append(n_entities)
                own.append(int(self.log.streams[stream.name].vocabulary_id[history.entity]) if stream.keys else 0)
                gaps.append(_gap(now - int(timestamps[history.rows[-1]])))
                read.append((*self._events(history.rows.tolist(), width), len(history.rows)))
            for column in (place, own, gaps):
                column += [0] * (stream.max_entities - len(histories[stream.name]))
            history_ids, history_gap, history_weekday, length = map(list, zip(*read, strict=True))
            columns = _integers(history_ids), _integers(history_gap), _integers(history_weekday)
            streams.append(StreamBatch(*columns, torch.tensor(length)))

        p, t = self.config.focus_events, self.config.target_length
        before = range(max(position + 1 - p, int(index.start[focus])), position + 1)
        after = range(position + 1, min(position + 1 + t, int(index.start[focus + 1])))
        past = [int(index.rows[at]) for at in before]
        target = [following for following in (int(index.rows[at]) for at in after) if following < self.sampler.end]
        missing, read_ahead = p - len(past), target[: t - 1]
        ids, gap, weekday = self._events(past + read_ahead, len(past) + t - 1)
        ids.insert(len(past), [0] * len(schema.categories))
        gap.insert(len(past), gaps[self._focus_slot()])
        weekday.insert(len(past), self._wall(row).isoweekday())
        is_token = [True] * (len(past) + 1 + len(read_ahead)) + [False] * (t - 1 - len(read_ahead))
        sequence = SequenceBatch(
            ids=_integers([[[0] * len(schema.categories)] * missing + ids]),
            gap=_integers([[0] * missing + gap]),
            weekday=_integers([[0] * missing + weekday]),
            is_token=torch.tensor([[False] * missing + is_token]),
            now_hour=_integers([self._wall(row).hour]),
        )
        memory = MemoryBatch(torch.tensor([place]), _integers([own]), _integers([gaps]))
        labels = torch.tensor([self._events(target, t)[0]])
        is_target = torch.tensor([[at < len(target) for at in range(t)]])
        return Batch(tuple(streams), _one_each(streams), memory, sequence), Targets(
            labels, is_target, labels, sequence.ids, torch.tensor([False])
        )

    def collate(self, samples: list[Sample]) -> Sample:
        """Batches of one as one batch."""
        batches, targets = zip(*samples, strict=True)
        streams = []
        for parts in zip(*(batch.streams for batch in batches), strict=True):
            width = max(part.gap.shape[1] for part in parts)
            padded = [(*(_pad(column, width) for column in part[:3]), part.length) for part in parts]
            streams.append(StreamBatch(*map(torch.cat, zip(*padded, strict=True))))
        # entities were counted sample by sample, and are now kind by kind
        n = torch.tensor([[len(stream.length) for stream in batch.streams] for batch in batches])  # (B, kinds)
        of_kind = n.sum(0)
        shift = (n.cumsum(0) - n + of_kind.cumsum(0) - of_kind) - (n.cumsum(1) - n)
        place, own, gap = (torch.cat(column) for column in zip(*(batch.memory for batch in batches), strict=True))
        place = torch.where(place > 0, place + shift[:, self.slot_kind], 0)
        sequence = SequenceBatch(*map(torch.cat, zip(*(batch.sequence for batch in batches), strict=True)))
        together = Targets(*map(torch.cat, zip(*targets, strict=True)))
        return Batch(tuple(streams), _one_each(streams), MemoryBatch(place, own, gap), sequence), together

    def _events(self, rows: list[int], width: int) -> tuple[list[list[int]], list[int], list[int]]:
        """Ids, gaps and weekdays by row of the table, padded to ``width``."""
        events = self.log.events
        ids, gap, weekday = [], [], []
        for at, row in enumerate(rows):
            ids.append([int(id_) for id_ in events.ids[row]])
            gap.append(_gap(int(events.timestamp[row]) - int(events.timestamp[rows[at - 1]])) if at else 0)
            weekday.append(self._wall(row).isoweekday())
        padding = width - len(rows)
        return ids + [[0] * events.ids.shape[1]] * padding, gap + [0] * padding, weekday + [0] * padding

    def _wall(self, row: int) -> datetime:
        events = self.log.events
        since_1970 = timedelta(microseconds=int(events.timestamp[row]), seconds=int(events.utc_offset[row]))
        return datetime.fromtimestamp(0, UTC) + since_1970

    def _focus_slot(self) -> int:
        schema = self.log.schema
        kind = schema.stream_index(schema.focus)
        return sum(stream.max_entities for stream in schema.streams[:kind])


def _one_each(streams: list[StreamBatch]) -> tuple[Reads, ...]:
    return tuple(Reads(torch.arange(len(stream.length)), stream.length) for stream in streams)


def _pad(column: Tensor, width: int) -> Tensor:
    return torch.cat((column, column.new_zeros(len(column), width - column.shape[1], *column.shape[2:])), 1)


def _integers(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)


def _gap(microseconds: int) -> int:
    return min(int(math.log2(max(microseconds / MICROSECONDS, 0) + 1)) + 1, N_GAP_BUCKETS - 1)
