"""The benchmark of training: what it compares with reads and learns the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import TINY

from benchmarks.training import __main__ as program
from benchmarks.training.cases import Case, Contender, Loop
from benchmarks.training.measure import flops_of_step
from benchmarks.training.naive import NaiveSamples
from benchmarks.training.random_log import random_log
from benchmarks.training.stock import use_stock_modules
from eventmodel.event_log import EventLog
from eventmodel.model import EventModel
from eventmodel.schema import load_schema
from training.prefetch import to_tensors
from training.sampling import Sampler

CPU = torch.device("cpu")


def test_the_naive_loader_makes_the_same_batch(small_log: EventLog) -> None:
    sampler = Sampler(small_log, TINY, 0, small_log.train_end)
    positions = np.random.default_rng(0).permutation(sampler.positions)[:23]
    samples = NaiveSamples(sampler)
    batch, targets = samples.collate([samples[position] for position in positions.tolist()])
    expected_batch, expected = to_tensors(sampler.batch(sampler.at_last_event(positions), TINY.target_length), CPU)
    # entities of a kind may stand in another order: the states, by slot, are what counts
    assert torch.equal((batch.memory.place > 0), (expected_batch.memory.place > 0))
    for got, wanted in zip(
        (*batch.memory[1:], *batch.sequence, *targets),
        (*expected_batch.memory[1:], *expected_batch.sequence, *expected),
        strict=True,
    ):
        assert torch.equal(got, wanted)
    model = EventModel(TINY, small_log.codec).eval()
    with torch.no_grad():
        torch.testing.assert_close(model(batch, targets).logits, model(expected_batch, targets).logits)


def test_stock_modules_make_a_network_of_the_same_size_that_trains(small_log: EventLog) -> None:
    model = EventModel(TINY, small_log.codec)
    n_weights = sum(weight.numel() for weight in model.parameters())
    use_stock_modules(model)
    assert sum(weight.numel() for weight in model.parameters()) == pytest.approx(n_weights, rel=0.25)
    sampler = Sampler(small_log, TINY, 0, small_log.train_end)
    batch, targets = to_tensors(sampler.batch(sampler.at_last_event(sampler.positions[:9]), TINY.target_length), CPU)
    model.heads.target_log_probs(model(batch, targets), targets.ids, targets.source_ids).sum().backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in model.predictor.parameters())


def test_every_history_of_a_random_log_is_long() -> None:
    log = random_log(load_schema("workforce"), events=2_000, names=20)
    assert np.diff(log.focus.start).min() > 100
    assert (np.diff(log.events.timestamp) == 60_000_000).all()


@pytest.mark.parametrize("is_wide", [False, True])
def test_the_whole_program_measures_every_loop(
    is_wide: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = Case("tiny", replace(TINY, context_length=9), batch_size=4, accumulation=2, is_wide=is_wide)
    monkeypatch.setattr(program, "case_of", lambda name, is_gpu: tiny)
    loops: tuple[Loop, ...] = ("this", "stock modules", "naive data", "naive loop")
    program.main(program.Config(cases=("base",), loops=loops, seconds=0.0, events=1_500, device="cpu"))
    printed = capsys.readouterr().out
    rows = [line.split(" | ") for line in printed.splitlines() if line.startswith("| ")][2:]
    assert [row[0].removeprefix("| ") for row in rows] == list(loops)
    for row in rows:
        assert all(float(figure.replace(",", "")) > 0 for figure in row[1:8])
    assert 0 < float(rows[0][9]) < 100


def test_a_step_counts_the_operations_of_all_its_products(small_log: EventLog) -> None:
    case = Case("tiny", TINY, batch_size=4)
    twice = replace(case, accumulation=2)
    one, two = (flops_of_step(Contender("this", c, small_log, CPU)) for c in (case, twice))
    assert two == 2 * one
    # of the output rows alone, forward and backward
    assert one > 6 * 4 * TINY.target_length * TINY.d_model * sum(small_log.codec.sizes)
