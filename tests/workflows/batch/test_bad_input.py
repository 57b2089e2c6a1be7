"""Whatever is wrong with a jobs file: one line with the line of the file, exit status 2, nothing begun."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from segment_tiles.cli.main import run_command_line

HEAD = "defaults: {model: canopy-rgb}\njobs:\n"
CASES = {
    "no mapping": ("- a\n- b\n", r"line 1: holds a list; a mapping with the key jobs"),
    "empty": ("", r"line 1: holds nothing"),
    "no YAML": ("jobs:\n  - source: [a\n", r"line \d: is not YAML: "),
    "no jobs": ("defaults: {model: canopy-rgb}\n", r"line 1: the key jobs is missing"),
    "no job": ("jobs: []\n", r"line 1: jobs is \[\]: .*at least 1 item"),
    "unknown key": ("job:\n  - source: a.tif\n", r"line 1: the key job is not known; did you mean jobs\?"),
    "unknown key of a job": (
        HEAD + "  - source: a.tif\n    overlab: 0.5\n",
        r"line 4: the key jobs\.0\.overlab is not known; did you mean overlap\?",
    ),
    "unknown key of the defaults": (
        "defaults:\n  model: canopy-rgb\n  nodata_rule: any\njobs:\n  - source: a.tif\n",
        r"line 3: the key defaults\.nodata_rule is not known; did you mean nodata-rule\?",
    ),
    "unknown key of a mosaic": (
        HEAD + "  - name: a\n    source: a.tif\n    mosaic:\n      resample: cubic\n",
        r"line 6: the key jobs\.0\.mosaic\.resample is not known; did you mean resampling\?",
    ),
    "key twice": (HEAD + "  - source: a.tif\n    source: b.tif\n", r"line 4: the key source is given twice"),
    "bad overlap": (HEAD + "  - source: a.tif\n    overlap: 1\n", r"line 4: jobs\.0\.overlap is 1: .*less than 1"),
    "bad blend": (HEAD + "  - source: a.tif\n\n    blend: cosine\n", r"line 5: .*'cosine'.*'gaussian', 'hann'"),
    "bad memory": (HEAD + "  - source: a.tif\n    memory: lots\n", r"line 4: .*'lots': give a size such as 4GB"),
    "bad format": (HEAD + "  - source: a.tif\n    format: [cog, dwg]\n", r"line 4: .*'dwg'.*'zarr', 'cog'"),
    "roi turned over": (HEAD + "  - source: a.tif\n    roi: [3, 0, 1, 1]\n", r"line 4: .*MINX must be below MAXX"),
    "no list of scenes": (HEAD + "  - tile: 512\n", r"line 3: .*one of source, csv, stac, this one has none"),
    "two lists": (HEAD + "  - source: a.tif\n    csv: b.csv\n", r"line 3: .*this one has source and csv"),
    "column without csv": (HEAD + "  - source: a.tif\n    column: b\n", r"line 3: .*column belongs to csv"),
    "mosaic without name": (HEAD + "  - source: a.tif\n    mosaic: true\n", r"line 3: .*a mosaic needs a name"),
    "no model": ("jobs:\n  - source: a.tif\n", r"line 2: no model is named, here or in defaults"),
    "nothing matches": (HEAD + "  - source: scenes/*.tif\n", r"line 3: no file matches scenes/\*\.tif in /"),
    "glob of URLs": (HEAD + "  - source: https://host/*.tif\n", r"line 3: .*a glob lists local files only"),
    "one output": (
        HEAD + "  - source: [a.tif, b.tif]\n  - source: old/a.tif\n",
        r"line 4: /.*/old/a\.tif would be written to jobs-results/a, as /.*/a\.tif of line 3 is; let out name",
    ),
    "one output by another way": (
        HEAD + "  - {source: a.tif, out: maps/x/../a}\n  - {source: b.tif, out: ./maps/a}\n",
        r"line 4: .*b\.tif would be written to maps/a",
    ),
    "output in an output": (
        HEAD + "  - {source: a.tif, out: maps}\n  - {source: b.tif, out: maps/b}\n",
        r"line 4: maps/b lies inside maps, the output of line 3",
    ),
    "output is the results folder": (
        HEAD + "  - {source: a.tif, out: '{results}'}\n",
        r"line 3: jobs-results is or holds the results folder",
    ),
    "unknown field": (
        HEAD + "  - {source: a.tif, out: 'maps/{steam}'}\n", r"line 3: .*\{steam\} is not known; did you mean \{stem\}",
    ),
    "attribute of a field": (
        HEAD + "  - {source: a.tif, out: 'maps/{stem.__class__}'}\n", r"line 3: .*\{stem\.__class__\} is not known",
    ),
    "empty field": (HEAD + "  - {source: a.tif, out: 'maps/{name}'}\n", r"line 3: .*\{name\} is empty for this scene"),
    "brace left open": (HEAD + "  - {source: a.tif, out: 'maps/{stem'}\n", r"line 3: out 'maps/\{stem'"),
    "mosaics of one name": (
        HEAD + "  - {name: m, source: a.tif, mosaic: true, out: x}\n"
        "  - {name: m, source: b.tif, mosaic: true, out: y}\n",
        r"line 4: has the name of the mosaic of line 3",
    ),
    "missing CSV file": (HEAD + "  - csv: none.csv\n", r"line 3: /.*none\.csv cannot be read \(No such file"),
    "missing column": (HEAD + "  - csv: list.csv\n", r"list\.csv has no column 'source'; its columns are path, tile"),
    "bad cell": (
        HEAD + "  - {csv: list.csv, column: path}\n", r"list\.csv, line 3: tile is 'large': Input should be a valid",
    ),
    "short row": (HEAD + "  - {csv: short.csv, column: path}\n", r"short\.csv, line 2: has more or fewer cells"),
    "no STAC": (HEAD + "  - stac: list.csv\n", r"line 3: /.*list\.csv: cannot be read as STAC"),
    "unreachable STAC": (
        HEAD + "  - stac: http://127.0.0.1:9/item.json\n", r"line 3: http://127\.0\.0\.1:9/item\.json: cannot be read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CASES)
@pytest.mark.parametrize("dry", [False, True])
def test_a_bad_jobs_file_is_refused_with_its_line(
    what: str, dry: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = CASES[what]
    path = tmp_path / "jobs.yaml"
    path.write_text(text)
    (tmp_path / "list.csv").write_text("path,tile\na.tif,512\nb.tif,large\n")
    (tmp_path / "short.csv").write_text("path,tile\na.tif\n")
    before = sorted(tmp_path.rglob("*"))
    assert run_command_line(["batch", str(path), *(["--dry-run"] if dry else [])]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = printed.err.splitlines()
    assert len(lines) == 1, printed.err
    assert re.search(message, lines[0]), lines[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_a_jobs_file_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command_line(["batch", str(tmp_path / "none.yaml")]) == 2
    assert "none.yaml cannot be read (No such file or directory)" in capsys.readouterr().err
    assert run_command_line(["batch"]) == 2
    assert "JOBS.yaml" in capsys.readouterr().err
