"""The network: causality, padding, states, masks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from eventmodel.batch import Batch, StreamBatch, Targets
from eventmodel.codec import Codec
from eventmodel.config import ModelConfig
from eventmodel.encoder import EventEncoder
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from eventmodel.schema import Schema
from export.graphs import artefacts
from export.parity import largest_difference
from export.tolerance import TOLERANCE
from training.prefetch import to_tensors
from training.sampling import Sampler

# distinct sizes, so that a transposed or swapped dimension cannot pass
CONFIG = ModelConfig(
    d_model=20,
    n_heads=2,
    encoder_layers=2,
    decoder_layers=2,
    context_length=13,
    focus_events=6,
    target_length=5,
    dropout=0.0,
)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def model(small_log: EventLog) -> EventModel:
    torch.manual_seed(0)
    return EventModel(CONFIG, small_log.codec).eval()


def sample(log: EventLog, size: int = 9, seed: int = 0, config: ModelConfig = CONFIG) -> tuple[Batch, Targets]:
    sampler = Sampler(log, config, 0, log.train_end)
    positions = np.random.default_rng(seed).permutation(sampler.positions)[:size]
    arrays = sampler.batch(sampler.at_last_event(positions), config.target_length)
    return to_tensors(arrays, CPU)


@torch.no_grad()
def predict(model: EventModel, batch: Batch, targets: Targets) -> Tensor:
    """Log-probabilities (B, N, V) of everything."""
    output = model(batch, targets)
    return model.heads.all_log_probs(output, batch.sequence.ids)


def test_every_category_is_a_distribution(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    output = model(batch, targets)
    for log_probs in model.heads.all_log_probs(output, batch.sequence.ids).split(model.sizes, -1):
        torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(log_probs.shape[:2]))


def test_the_probability_of_a_target_is_that_of_the_distribution(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    output = model(batch, targets)
    direct = model.heads.target_log_probs(output, targets.ids, batch.sequence.ids)
    for c, log_probs in enumerate(model.heads.all_log_probs(output, batch.sequence.ids).split(model.sizes, -1)):
        looked_up = log_probs.gather(-1, targets.ids[:, :, c, None])[..., 0]
        torch.testing.assert_close(direct[..., c], looked_up, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("later", range(CONFIG.target_length - 1))
def test_a_future_event_never_reaches_an_earlier_prediction(model: EventModel, small_log: EventLog, later: int) -> None:
    batch, targets = sample(small_log)
    before = predict(model, batch, targets)
    ids, gap, weekday = (t.clone() for t in (batch.sequence.ids, batch.sequence.gap, batch.sequence.weekday))
    at = CONFIG.focus_events + 1 + later
    ids[:, at], gap[:, at], weekday[:, at] = (ids[:, at] + 1) % 3, (gap[:, at] + 1) % 9, (weekday[:, at] + 1) % 7
    changed = batch._replace(sequence=batch.sequence._replace(ids=ids, gap=gap, weekday=weekday))
    after = predict(model, changed, targets)
    assert torch.equal(before[:, : later + 1], after[:, : later + 1])
    assert not torch.equal(before[:, later + 1], after[:, later + 1])


def test_what_is_known_of_now_never_reaches_an_event_after_it(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    sequence = batch.sequence
    later = sequence.gap.clone()
    later[:, CONFIG.focus_events] += 5
    changed = batch._replace(sequence=sequence._replace(gap=later, now_hour=(sequence.now_hour + 7) % 24))
    before, after = predict(model, batch, targets), predict(model, changed, targets)
    assert not torch.equal(before[:, 0], after[:, 0])
    assert torch.equal(before[:, 1:], after[:, 1:])


def test_a_now_that_nothing_is_known_of_is_the_newest_event(model: EventModel, small_log: EventLog) -> None:
    sequence = sample(small_log)[0].sequence
    p = CONFIG.focus_events
    x = model.events(sequence.ids, sequence.gap, sequence.weekday)
    x[:, p] = x[:, p - 1]
    memory = torch.randn(len(x), 3, CONFIG.d_model)
    hidden, _ = model.predictor(x, sequence.is_token, memory, torch.ones(memory.shape[:2], dtype=torch.bool))
    torch.testing.assert_close(hidden[:, p], hidden[:, p - 1])


def test_dropout_leaves_whole_categories_out_of_events_in_training_alone(small_log: EventLog) -> None:
    categories, sizes = small_log.schema.categories, small_log.codec.sizes
    starts = tuple(sum(sizes[:c]) for c in range(len(sizes)))
    encoder = EventEncoder(32, categories, sizes, starts, dropout=0.25)
    with torch.no_grad():  # an event's vector says which categories are in it, one number each
        for weight in encoder.parameters():
            weight.zero_()
        for c, (start, size) in enumerate(zip(starts, sizes, strict=True)):
            encoder.table[start : start + size, c] = 1.0
    encoder.norm = torch.nn.Identity()  # type: ignore[assignment]
    ids = torch.zeros(2000, len(sizes), dtype=torch.int64)
    nothing = torch.zeros(2000, dtype=torch.int64)
    seen = encoder(ids, nothing, nothing)[:, : len(sizes)]
    assert seen.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (seen == 0).float().mean(0).sub(0.25).abs().max() < 0.06
    assert (encoder.eval()(ids, nothing, nothing)[:, : len(sizes)] == 1).all()


def test_a_value_is_copied_from_any_category_of_its_vocabulary(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    names = [c.name for c in small_log.schema.categories]
    actor, recipient = names.index("ActorRecordId"), names.index("RecipientRecordId")
    output = model(batch, targets)
    # all of the recipient's probability on the first target's actor, by the event before NOW
    scores = torch.full_like(output.copy_scores, -1e4)
    scores[..., CONFIG.focus_events - 1] = 0
    copy_from = torch.full_like(output.copy_from, -1e4)
    copy_from[:, :, recipient, actor] = 0
    copying = output._replace(copy_scores=scores, copy_gate=torch.full_like(output.copy_gate, 1e4), copy_from=copy_from)
    found = model.heads.all_log_probs(copying, batch.sequence.ids).split(model.sizes, -1)[recipient]
    newest_actor = batch.sequence.ids[:, CONFIG.focus_events - 1, actor].long()
    assert torch.equal(found[:, 0].argmax(-1), newest_actor)
    torch.testing.assert_close(found[:, 0].amax(-1), torch.zeros(len(found)))


def test_ids_that_mean_something_else_are_never_copied(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    share = model(batch, targets).copy_from.softmax(-1)
    categories = small_log.schema.categories
    for i, one in enumerate(categories):
        for j, other in enumerate(categories):
            may_copy = i == j or (one.vocabulary, one.part) == (other.vocabulary, other.part) != (None, None)
            assert share[..., i, j].any() == may_copy


def test_a_later_event_of_a_history_never_reaches_an_earlier_state(model: EventModel, small_log: EventLog) -> None:
    stream = sample(small_log)[0].streams[0]
    shorter = stream._replace(length=torch.clamp(stream.length, max=4))
    changed = shorter._replace(ids=shorter.ids.clone())
    changed.ids[:, 4:] = 1
    assert torch.equal(model.encode("Actor", shorter), model.encode("Actor", changed))


def test_a_category_never_reads_itself_or_later_ones_in_the_chain(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    targets = targets._replace(in_chain=torch.ones_like(targets.in_chain))
    before = model(batch, targets).logits
    changed = targets._replace(context_ids=targets.context_ids.clone())
    c = 6
    changed.context_ids[..., c] = (changed.context_ids[..., c] + 1) % 3
    after = model(batch, changed).logits
    assert all(torch.equal(before[k], after[k]) for k in range(c + 1))
    assert not torch.equal(before[c + 1], after[c + 1])


def test_marginals_do_not_read_the_event(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    changed = targets._replace(context_ids=(targets.ids + 1) % 3)
    assert torch.equal(predict(model, batch, targets), predict(model, batch, changed))


def test_padding_never_changes_a_state(model: EventModel, small_log: EventLog) -> None:
    stream = sample(small_log)[0].streams[0]
    entity = int(stream.length.argmin())
    n = int(stream.length[entity])
    alone = StreamBatch(*(part[entity : entity + 1] for part in stream))
    cut = StreamBatch(alone.ids[:, :n], alone.gap[:, :n], alone.weekday[:, :n], alone.length)
    torch.testing.assert_close(model.encode("Actor", cut)[0], model.encode("Actor", stream)[entity])


def test_batch_neighbours_never_change_a_prediction(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    together = predict(model, batch, targets)
    for i in (0, 4, 8):
        one = batch._replace(
            memory=type(batch.memory)(*(part[i : i + 1] for part in batch.memory)),
            sequence=type(batch.sequence)(*(part[i : i + 1] for part in batch.sequence)),
        )
        alone = predict(model, one, Targets(*(part[i : i + 1] for part in targets)))
        torch.testing.assert_close(alone[0].exp(), together[i].exp(), atol=1e-6, rtol=1e-4)


def test_a_state_is_the_vector_at_the_last_real_event(model: EventModel, small_log: EventLog) -> None:
    stream = sample(small_log)[0].streams[0]
    encoder = model.streams[0]
    events = model.events(stream.ids, stream.gap, stream.weekday)
    x = torch.cat((encoder.start.expand(len(events), 1, -1), events), 1)
    for block in encoder.blocks:
        x = block(x)
    every_position = encoder.norm(x)
    expected = every_position[torch.arange(len(events)), stream.length]
    torch.testing.assert_close(model.encode("Actor", stream), expected)


def test_an_empty_history_has_the_start_tokens_state(model: EventModel, small_log: EventLog) -> None:
    stream = sample(small_log)[0].streams[0]
    empty = stream._replace(length=torch.zeros_like(stream.length))
    states = model.encode("Actor", empty)
    torch.testing.assert_close(states, states[:1].expand_as(states))
    assert torch.isfinite(states).all()


def test_a_sample_without_any_history_still_has_a_prediction(model: EventModel, small_log: EventLog) -> None:
    batch, targets = sample(small_log)
    none = batch._replace(
        memory=batch.memory._replace(place=torch.zeros_like(batch.memory.place)),
        sequence=batch.sequence._replace(
            is_token=torch.arange(batch.sequence.is_token.shape[1]).expand_as(batch.sequence.is_token)
            >= CONFIG.focus_events
        ),
    )
    assert torch.isfinite(predict(model, none, targets)).all()


def test_the_original_design_without_focus_events_works(small_log: EventLog) -> None:
    config = ModelConfig(d_model=20, n_heads=2, encoder_layers=1, decoder_layers=1, context_length=13, focus_events=0)
    batch, targets = sample(small_log, config=config)
    plain = EventModel(config, small_log.codec).eval()
    assert torch.isfinite(predict(plain, batch, targets)).all()


def test_every_weight_takes_part_in_training(small_log: EventLog) -> None:
    model = EventModel(CONFIG, small_log.codec)
    batch, targets = sample(small_log, size=40)
    targets = targets._replace(in_chain=torch.arange(40) % 2 == 0)
    model.heads.target_log_probs(model(batch, targets), targets.ids, targets.source_ids).sum().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle


def test_fields_of_one_vocabulary_share_their_embeddings(model: EventModel, small_log: EventLog) -> None:
    names = [c.name for c in small_log.schema.categories]
    offset = model.events.row_offset.tolist()
    assert offset[names.index("ActorRecordId")] == offset[names.index("RecipientRecordId")]
    assert offset[names.index("ActorRecordId")] != offset[names.index("LocationRecordId")]


def test_an_id_that_training_never_showed_is_read_as_unknown(small_log: EventLog) -> None:
    model = EventModel(CONFIG, small_log.codec).eval()
    model.start_from(small_log.events.ids[: small_log.train_end])
    month = next(c for c, category in enumerate(small_log.schema.categories) if category.part == "Month")
    ids = torch.zeros(3, len(model.sizes), dtype=torch.int64)
    ids[0, month], ids[1, month] = 1, 12  # the log has January, and no December
    january, december, unknown = model.events.embed(ids)[:, month]
    assert torch.equal(december, unknown)
    assert not torch.equal(january, unknown)
    assert torch.equal(
        model.events.embed_category(ids[:, month], month, model.events.embeddings()), model.events.embed(ids)[:, month]
    )


def test_the_plain_design_has_independent_heads_that_read_and_copy_no_event(small_log: EventLog) -> None:
    config = replace(CONFIG, plain=True)
    assert config.focus_events == 0
    model = EventModel(config, small_log.codec).eval()
    sampler = Sampler(small_log, config, 0, small_log.train_end)
    nows = sampler.at_last_event(sampler.positions[:7])
    batch, targets = to_tensors(sampler.batch(nows, config.target_length), torch.device("cpu"))
    alone = model(batch, targets._replace(in_chain=torch.zeros(7, dtype=torch.bool)))
    chain = model(batch, targets._replace(in_chain=torch.ones(7, dtype=torch.bool)))
    assert all(torch.equal(a, b) for a, b in zip(alone.logits, chain.logits, strict=True))
    assert torch.sigmoid(alone.copy_gate).max() == 0


@pytest.mark.parametrize("name", ["items", "forward", "training", "parameters"])
def test_a_stream_may_have_the_name_of_a_method_and_is_exported(tiny_schema: Schema, name: str, tmp_path: Path) -> None:
    stream = tiny_schema.streams[0].model_copy(update={"name": name})
    schema = Schema.model_validate(tiny_schema.model_dump() | {"streams": [stream.model_dump()], "focus": name})
    model = EventModel(CONFIG, Codec(schema, dict.fromkeys(schema.vocabularies, ("a",)))).train().eval()
    encode = next(artefact for artefact in artefacts(model) if artefact.name == f"encode_{name}")
    assert largest_difference(encode, "torchscript", encode.write("torchscript", tmp_path)) < TOLERANCE
