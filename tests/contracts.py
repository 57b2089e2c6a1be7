"""import-linter sees the whole program: `.typing/segment_tiles` has every folder under its installed name.

At the top of the project `segment_tiles/` holds the face alone. The other folders get their names by `package-dir` in
pyproject.toml, which import-linter does not read; so it looks into `.typing` first, as mypy does. The contract below is
broken if it saw less than all.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / ".typing"))


class EveryModule(Contract):
    """Every file of the program is in the graph of imports."""

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Compare the graph with the disk."""
        files = [
            path for folder in ("cli", "workflows", "pipeline") for path in (ROOT / folder).rglob("*.py")
        ]
        names = {".".join(("segment_tiles", *path.relative_to(ROOT).with_suffix("").parts)) for path in files}
        missing = {name.removesuffix(".__init__") for name in names if "deploy" not in name} - graph.modules
        return ContractCheck(kept=not missing, metadata={"missing": sorted(missing)})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Name what is missing."""
        missing: Any = check.metadata["missing"]
        output.print_error(f"not in the graph: {', '.join(missing)}")
