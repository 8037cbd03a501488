"""Settings come from flags, the environment and defaults, in this order."""

import pytest
from pydantic import ValidationError

from server.settings import Settings, explain_settings, misspelt_variables, read_settings


def test_a_flag_wins_over_the_environment_which_wins_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTMODEL_MAX_BATCH_SIZE", "7")
    monkeypatch.setenv("EVENTMODEL_PORT", "9000")
    settings = read_settings(["--bundle", "here", "--port", "9001"])
    assert (settings.max_batch_size, settings.port, settings.threads) == (7, 9001, 1)


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--bundle", "b", "--port", "80"],
        ["--bundle", "b", "--backend", "tensorflow"],
        ["--bundle", "b", "--timeout-s", "inf"],
        ["--bundle", "b", "--shutdown-delay-s", "inf"],
        ["--bundle", "b", "--api-key", ""],  # it would let everybody in
        ["--bundle", "b", "--api-key", "secret\n"],  # no header can carry it
        ["--bundle", "b", "--api-key", "sécret"],
    ],
)
def test_a_setting_that_cannot_work_is_refused(flags: list[str]) -> None:
    with pytest.raises((ValidationError, SystemExit)):
        read_settings(flags)


def test_a_misspelt_flag_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        read_settings(["--bundle", "b", "--prot", "9000"])
    assert caught.value.code == 2
    assert "--prot" in capsys.readouterr().err


def test_every_setting_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_what_is_wrong_names_the_setting_both_ways_and_what_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTMODEL_PORT", "eighty")
    monkeypatch.setenv("EVENTMODEL_API_KEY", "")
    with pytest.raises(ValidationError) as caught:
        read_settings([])
    bundle, port, key = explain_settings(caught.value).splitlines()
    assert bundle == "--bundle, or EVENTMODEL_BUNDLE: Field required"
    assert port.startswith("--port, or EVENTMODEL_PORT: ")
    assert port.endswith(", not 'eighty'")
    assert key.startswith("--api-key, or EVENTMODEL_API_KEY: ")


def test_a_key_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTMODEL_API_KEY", "")
    with pytest.raises(ValidationError) as caught:
        read_settings(["--bundle", "b"])
    assert "''" not in explain_settings(caught.value)


def test_a_variable_that_is_no_setting_is_found() -> None:
    environment = {
        "EVENTMODEL_MAX_QUEU": "5",
        "EVENTMODEL_MAX_QUEUE": "5",
        "eventmodel_port": "8000",
        "EVENTMODEL_UID": "0",
    }
    assert misspelt_variables(environment) == ["EVENTMODEL_MAX_QUEU"]
