"""Hatchling build hook: puts the chart into the wheel, and into the source distribution.

`mastctl install` finds it as mast/cli/charts/mast. A checkout has the chart beside cli/, a source
distribution within itself; a wheel of a tree without one is built all the same, and `mastctl
install` then wants --manifests.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.config import BuilderConfig
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = ("charts/mast", "../charts/mast")
WITHIN = {"wheel": "mast/cli/charts/mast", "sdist": "charts/mast"}


class ChartHook(BuildHookInterface[BuilderConfig]):
    """What hatchling calls before it builds."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the chart; an editable wheel needs none, the checkout has it."""
        if version == "editable":
            return
        found = (Path(self.root, place) for place in PLACES)
        chart = next((each for each in found if (each / "Chart.yaml").is_file()), None)
        if chart is None:
            self.app.display_warning("there is no chart: mastctl install will want --manifests")
            return
        build_data["force_include"][str(chart.resolve())] = WITHIN[self.target_name]
