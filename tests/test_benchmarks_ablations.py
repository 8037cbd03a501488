"""Every variant of the ablations trains, and differs from the whole design where it says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.ablations import CHANGES, CRIPPLES, AblationConfig, run_variant
from eventmodel.event_log import EventLog


@pytest.fixture(scope="module")
def whole(log_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    config = AblationConfig((log_directory,), tmp_path_factory.mktemp("whole"), steps=2)
    return run_variant(config, log_directory, "everything")


@pytest.mark.parametrize("name", [name for name in (*CHANGES, *CRIPPLES) if name != "everything"])
def test_a_variant_is_another_model_than_the_whole_design(
    name: str, whole: dict[str, list[float]], log_directory: Path, tmp_path: Path
) -> None:
    found = run_variant(AblationConfig((log_directory,), tmp_path, steps=2), log_directory, name)
    assert found["nll"] != whole["nll"]


def test_without_the_chain_an_event_is_as_probable_as_its_categories_on_their_own(
    log_directory: Path, tmp_path: Path
) -> None:
    found = run_variant(AblationConfig((log_directory,), tmp_path, steps=2), log_directory, "no chain")
    assert found["chain_nll"] == pytest.approx(found["nll"])


def test_a_variant_that_is_done_is_not_trained_again(log_directory: Path, tmp_path: Path) -> None:
    config = AblationConfig((log_directory,), tmp_path, steps=2)
    run_variant(config, log_directory, "P = 0")
    (result,) = tmp_path.rglob("result.json")
    result.write_text(json.dumps({"n": 1}))
    assert run_variant(config, log_directory, "P = 0") == {"n": 1}


@pytest.mark.parametrize(("other", "complaint"), [({"steps": 3}, "steps 2, not 3"), ({"seed": 1}, "seed 0, not 1")])
def test_a_variant_that_was_done_otherwise_is_refused(
    other: dict[str, int], complaint: str, log_directory: Path, tmp_path: Path
) -> None:
    config = AblationConfig((log_directory,), tmp_path, steps=2)
    run_variant(config, log_directory, "P = 0")
    with pytest.raises(ValueError, match=f"{complaint}.*name a new --out"):
        run_variant(replace(config, **other), log_directory, "P = 0")


def test_a_result_without_the_checkpoint_that_says_of_what_is_refused(log_directory: Path, tmp_path: Path) -> None:
    result = tmp_path / log_directory.name / "P--0" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text(json.dumps({"n": 1}))
    with pytest.raises(ValueError, match="does not say how it was trained; name a new --out"):
        run_variant(AblationConfig((log_directory,), tmp_path, steps=2), log_directory, "P = 0")


def test_a_variant_of_another_log_of_the_same_name_is_refused(
    log_directory: Path, small_log: EventLog, tmp_path: Path
) -> None:
    config = AblationConfig((log_directory,), tmp_path / "out", steps=2)
    run_variant(config, log_directory, "P = 0")
    other = tmp_path / log_directory.name
    small_log.save(other)
    with pytest.raises(ValueError, match="was trained with data"):
        run_variant(config, other, "P = 0")
