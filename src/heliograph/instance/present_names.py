"""Names of events that were renamed: what was recorded under an earlier name leaves under the present one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heliograph.plan.changes import present_names

if TYPE_CHECKING:
    from heliograph.plan.model import Plan


class PresentNames:
    """The present names by earlier ones, of one plan."""

    def __init__(self, plan: Plan) -> None:
        self._present = present_names(plan)

    def name(self, name: str) -> str:
        """Return the present name of an event."""
        return self._present.get(name, name)
