"""Reproduction of networks: stages run in order, are skipped when done, and are repeated on request."""

from pathlib import Path

import pytest

from dyrelu_tools.reproduce import NETWORKS, Place, Stage, run

MODELS = Path(__file__).parents[2] / "models"


def place(folder: Path) -> Place:
    return Place(folder / "data", folder, folder / "dyrelu")


def stages(folder: Path) -> list[Stage]:
    """Two stages, each of which appends a line to a record, the second with its output as its result."""
    first = ["sh", "-c", f"echo first >> {folder}/record; touch {folder}/a"]
    second = ["sh", "-c", f"echo second >> {folder}/record; cat {folder}/record"]
    return [Stage("first", "a", first), Stage("second", "b", second, keep=True)]


def test_a_stage_whose_result_is_there_is_skipped(tmp_path: Path) -> None:
    run(stages(tmp_path), place(tmp_path))
    run(stages(tmp_path), place(tmp_path))
    assert (tmp_path / "b").read_text() == "first\nsecond\n"
    (tmp_path / "a").unlink()
    run(stages(tmp_path), place(tmp_path))
    assert (tmp_path / "record").read_text() == "first\nsecond\nfirst\n"


def test_a_stage_and_all_after_it_are_repeated_on_request(tmp_path: Path) -> None:
    run(stages(tmp_path), place(tmp_path))
    run(stages(tmp_path), place(tmp_path), "second")
    assert (tmp_path / "b").read_text() == "first\nsecond\nsecond\n"


def test_an_interrupted_stage_has_no_result(tmp_path: Path) -> None:
    failing = Stage("failing", "c", ["sh", "-c", "echo half; exit 1"], keep=True)
    with pytest.raises(Exception, match="exit status 1"):
        failing.run(place(tmp_path))
    assert not (tmp_path / "c").exists()


def test_a_stage_without_its_result_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="the stage idle has ended"):
        Stage("idle", "d", ["true"]).run(place(tmp_path))


def test_every_classifier_that_ships_can_be_reproduced(tmp_path: Path) -> None:
    shipped = {path.stem for path in MODELS.glob("*.safetensors")}
    assert {name for name in shipped if not name.startswith("movenet")} == set(NETWORKS)
    for name, network in NETWORKS.items():
        names = [stage.name for stage in network.stages(place(tmp_path))]
        assert len(set(names)) == len(names) > 4
        card = (MODELS / f"{name}.md").read_text()
        assert card.count("<!-- accuracy:begin -->") == card.count("<!-- accuracy:end -->") == 1
        assert f"dyrelu_tools.reproduce {name}" in card
