import pytest

from rgprobe.errors import EnvironmentFault
from rgprobe.locking import exclusive


def test_second_run_into_a_directory_is_refused_and_a_finished_one_is_not(tmp_path):
    with exclusive(tmp_path / "run"), pytest.raises(EnvironmentFault, match="lock held by another run"):  # noqa: SIM117
        with exclusive(tmp_path / "run"):
            pass
    with exclusive(tmp_path / "run") as directory:
        assert list(directory.iterdir()) == []


def test_directory_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="can be created and written"), exclusive(tmp_path / "file" / "run"):
        pass
