"""What SQL may read of a lake: the marts and the pings, opened as Arrow data sets; never the events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pyarrow.dataset as ds

from heliograph.engines import Stored
from heliograph.insights.scope import QuestionError
from heliograph.lake.marts.reading import read_lake
from heliograph.lake.marts.tables import MARTS
from heliograph.lake.storage import open_storage
from heliograph.lake.tables import PING_SCHEMA, ping_files

if TYPE_CHECKING:
    from heliograph.plan.model import Plan
    from heliograph.settings import LakeSettings


NO_MARTS: Final = (
    "The marts are not made yet, or were made under another plan, and SQL reads nothing else. Run heliograph lake "
    "load; heliograph ask answers from the events meanwhile."
)


def sql_tables(settings: LakeSettings, plan: Plan) -> dict[str, ds.Dataset]:
    """Return the marts and the pings of the lake as of now, by name.

    Raises:
        QuestionError: The loader has not made the marts, or not under this plan.
    """
    stored = read_lake(settings, plan)
    marts = {mart.name: stored[mart.name] for mart in MARTS if mart.name in stored}
    if not marts:
        raise QuestionError([NO_MARTS])
    files, pings = open_storage(settings).arrow_files(), Stored(tuple(ping_files(settings)), PING_SCHEMA)
    return {
        name: ds.dataset(
            [path.removeprefix("s3://") for path in each.files], each.columns, format="parquet", filesystem=files
        )
        for name, each in {**marts, "pings": pings}.items()
    }
