"""Tables are inserted into a document."""

from pathlib import Path

import pytest

from dyrelu_tools import markdown


def test_text_is_inserted_between_the_marks_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    begin, end = "<!-- speed:begin -->", "<!-- speed:end -->"
    path.write_text(f"# Title\n{begin}\nold\n{end}\nafter\n")
    markdown.insert(path, "speed", "new\n")
    assert path.read_text() == f"# Title\n{begin}\nnew\n{end}\nafter\n"
    path.write_text(f"{end} {begin}")
    for name in ("speed", "size"):
        with pytest.raises(SystemExit):
            markdown.insert(path, name, "new\n")
    assert path.read_text() == f"{end} {begin}"
