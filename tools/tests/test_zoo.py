"""The table and the checksums of networks, from an entry of `dyrelu models`."""

import hashlib
from pathlib import Path

from dyrelu_tools import markdown, zoo


def test_only_networks_have_checksums(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.onnx", "README.md"):
        (tmp_path / name).write_bytes(name.encode())
    lines = zoo.checksums(tmp_path).splitlines()
    assert [line.split("  ")[1] for line in lines] == ["a.onnx", "b.safetensors"]
    assert lines[1].split("  ")[0] == hashlib.sha256(b"b.safetensors").hexdigest()


def test_a_missing_fact_is_a_dash() -> None:
    entry = {
        "name": "net",
        "forms": ["DY-ReLU-B, K = 2", "DY-ReLU-B, K = 1"],
        "input": [3, 224, 224],
        "classes": 1000,
        "parameters": 4_652_008,
        "macs": 385_000_000,
        "bytes": 9_300_000,
        "top1": "74% of ImageNet",
        "default": True,
    }
    row = zoo.row(entry, 5.6789)
    assert row[0] == "[net](net.md) (default)" and row[1] == "DY-ReLU-B, K = 2; DY-ReLU-B, K = 1"
    assert row[2:] == ["3x224x224", "1000", "4.65 M", "385.0 M", "9.3 MB", "74% of ImageNet", "5.68"]
    bare = entry | {"forms": [], "input": None, "classes": None, "top1": None, "default": False}
    assert [cell for cell in zoo.row(bare, 1.0) if cell == "–"] == ["–"] * 4
    assert len(markdown.lines([zoo.HEADING, row])) == 3


def test_every_network_that_ships_has_a_card_with_metadata_and_its_checksum() -> None:
    models = Path(__file__).parents[2] / "models"
    networks = sorted(models.glob("*.safetensors"))
    assert len(networks) > 5
    assert (models / "SHA256SUMS").read_text() == zoo.checksums(models)
    for network in networks:
        begin, metadata, text = network.with_suffix(".md").read_text().split("---\n", 2)
        entries = dict(line.split(": ", 1) for line in metadata.splitlines())
        assert not begin and text.startswith(f"\n# {network.stem}\n"), network
        assert entries["library_name"] == "dyrelu" and entries["license"] in ("apache-2.0", "[mit, apache-2.0]")
        assert entries["pipeline_tag"] in ("image-classification", "keypoint-detection"), network
        assert ("dynamic-relu" in entries["tags"]) == ("dyrelu" in network.stem), network
