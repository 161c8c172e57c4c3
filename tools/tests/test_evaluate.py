"""Top-1 accuracy of predictions of dyrelu, with classes from folders and from a table."""

from pathlib import Path

import pytest

from dyrelu_tools.evaluate import accuracy_by_folder, accuracy_by_index

ROWS = """path,rank,class,label,score
val/n2/a.jpg,1,1,two,0.9
val/n2/a.jpg,2,0,one,0.1
val/n1/b.jpg,1,1,two,0.6
val/n1/c.jpg,1,0,one,0.6
"""


def test_classes_are_folders_or_come_from_a_table(tmp_path: Path) -> None:
    table, names = tmp_path / "predictions.csv", tmp_path / "names.tsv"
    table.write_text(ROWS)
    assert accuracy_by_folder(table, None) == 2 / 3
    names.write_text("index\tsynset\tname\n0\tn2\ttwo\n1\tn1\tone\n")
    assert accuracy_by_folder(table, names) == 1 / 3


def test_classes_of_photos_in_one_folder_come_from_an_index(tmp_path: Path) -> None:
    table, index = tmp_path / "predictions.csv", tmp_path / "index.csv"
    table.write_text(ROWS)
    index.write_text("file,label0\na.jpg,1\nb.jpg,0\nc.jpg,1\n")
    assert accuracy_by_index(table, index) == 1 / 3
    index.write_text("file,label0\na.jpg,1\nb.jpg,0\n")
    with pytest.raises(SystemExit, match="no class for c.jpg"):
        accuracy_by_index(table, index)
