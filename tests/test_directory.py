import os

import pytest

from eventmodel.directory import check_place, point, write_directory


def names(path) -> list[str]:
    return sorted(entry.name for entry in path.iterdir())


def write(path, text: str) -> None:
    with write_directory(path, replaces="header") as draft:
        (draft / "header").write_text(text)


def write_half(path) -> None:
    with write_directory(path, replaces="header") as draft:
        (draft / "header").write_text("half")
        raise OSError("disk full")


def test_a_directory_appears_with_its_parents(tmp_path):
    write(tmp_path / "a" / "b", "new")
    assert (tmp_path / "a" / "b" / "header").read_text() == "new"


def test_nothing_is_at_the_place_before_the_block_ends(tmp_path):
    with write_directory(tmp_path / "a", replaces="header") as draft:
        assert not (tmp_path / "a").exists()
        (draft / "header").touch()


def test_an_empty_directory_is_taken(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a", "new")
    assert names(tmp_path / "a") == ["header"]


def test_an_earlier_directory_of_the_kind_is_replaced_as_a_whole(tmp_path):
    write(tmp_path / "a", "old")
    (tmp_path / "a" / "more").touch()
    write(tmp_path / "a", "new")
    assert names(tmp_path / "a") == ["header"]
    assert (tmp_path / "a" / "header").read_text() == "new"


@pytest.mark.parametrize("kind", ["file", "directory"])
def test_what_is_of_another_kind_is_refused_and_stays(tmp_path, kind):
    place = tmp_path / "a"
    if kind == "file":
        place.write_text("mine")
    else:
        place.mkdir()
        (place / "mine").touch()
    with pytest.raises(FileExistsError, match="holds something else"):
        write(place, "new")
    assert place.read_text() == "mine" if kind == "file" else names(place) == ["mine"]


def test_what_a_killed_process_of_the_same_number_left_is_no_obstacle(tmp_path):
    write(tmp_path / "a", "old")
    write(tmp_path / f".a.old-{os.getpid()}", "left")
    write(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "header").read_text() == "new"


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, exists):
    if exists:
        write(tmp_path / "there", "old")
    (tmp_path / "link").symlink_to("there")
    write(tmp_path / "link", "new")
    assert names(tmp_path) == ["link", "there"]
    assert (tmp_path / "link").is_symlink()


def test_a_place_below_a_file_is_refused_by_its_own_name(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match=r"file/a cannot be written \(.*\); name another directory"):
        write(tmp_path / "file" / "a", "new")


def test_checking_a_place_raises_what_writing_would_and_leaves_it_as_it_is(tmp_path):
    check_place(tmp_path / "a", replaces="header")
    assert names(tmp_path) == []
    write(tmp_path / "a", "old")
    check_place(tmp_path / "a", replaces="header")
    assert names(tmp_path / "a") == ["header"]
    with pytest.raises(FileExistsError, match="holds something else"):
        check_place(tmp_path / "a", replaces="another")


def test_a_failure_leaves_nothing_behind(tmp_path):
    with pytest.raises(OSError, match="disk full"):
        write_half(tmp_path / "a")
    assert names(tmp_path) == []


def test_a_failure_leaves_the_earlier_directory_intact(tmp_path):
    write(tmp_path / "a", "old")
    with pytest.raises(OSError, match="disk full"):
        write_half(tmp_path / "a")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "header").read_text() == "old"


def test_a_failed_rename_brings_the_earlier_directory_back(tmp_path, monkeypatch):
    write(tmp_path / "a", "old")
    rename = os.rename

    def fails_for_the_draft(source, target):
        if "writing" in str(source):
            raise OSError("no rename today")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fails_for_the_draft)
    with pytest.raises(OSError, match="no rename today"):
        write(tmp_path / "a", "new")
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a" / "header").read_text() == "old"


def test_a_link_points_to_the_newest_target(tmp_path):
    for step in ("step-1", "step-2"):
        (tmp_path / step).mkdir()
        point(tmp_path / "last", tmp_path / step)
    assert os.readlink(tmp_path / "last") == "step-2"
    assert names(tmp_path) == ["last", "step-1", "step-2"]


def test_a_link_still_holds_when_its_directory_moves(tmp_path):
    (tmp_path / "run" / "step-1").mkdir(parents=True)
    point(tmp_path / "run" / "last", tmp_path / "run" / "step-1")
    (tmp_path / "run").rename(tmp_path / "moved")
    assert (tmp_path / "moved" / "last").is_dir()
