"""What can differ between two versions of a plan: a closed list of kinds, each with its effect."""

from __future__ import annotations

import enum

import msgspec

from heliograph.plan.shape import Path


class Effect(enum.StrEnum):
    """What a change does, in the order in which a reviewer reads."""

    COLLECTED = "newly collected"
    """Something can leave an instance that could not before."""
    STOPPED = "no longer collected"
    """Something cannot leave any more."""
    HISTORY = "history"
    """How earlier events are read: names that changed, or came to an end."""
    MEANING = "meaning changed"
    """The same leaves as before, and means something else, or is kept for another reason."""
    BREAKING = "breaking"
    """Stored events could not be read, or could be read wrongly."""


class Kind(enum.Enum):
    """A kind of change: its code in JSON, its effect, and what a reviewer reads."""

    EVENT_ADDED = ("event_added", Effect.COLLECTED, "new event")
    PROPERTY_ADDED = ("property_added", Effect.COLLECTED, "new property")
    OUTCOME_ADDED = ("outcome_added", Effect.COLLECTED, "new outcome")
    MEMBER_ADDED = ("member_added", Effect.COLLECTED, "new member")
    RANGE_WIDENED = ("range_widened", Effect.COLLECTED, "wider range")
    PRECISION_FINER = ("precision_finer", Effect.COLLECTED, "finer precision")
    BUCKETS_FINER = ("buckets_finer", Effect.COLLECTED, "other buckets")
    VALUES_OTHER = ("values_other", Effect.COLLECTED, "values of another type")
    SOURCE_ADDED = ("source_added", Effect.COLLECTED, "new source")
    FEATURE_ADDED = ("feature_added", Effect.COLLECTED, "new feature, counted in the ping")
    FACT_ADDED = ("fact_added", Effect.COLLECTED, "new fact")
    FORMER_NAME_ADDED = ("former_name_added", Effect.COLLECTED, "taken under another name, too")

    EVENT_WITHDRAWN = ("event_withdrawn", Effect.STOPPED, "withdrawn")
    PROPERTY_WITHDRAWN = ("property_withdrawn", Effect.STOPPED, "withdrawn")
    OUTCOME_WITHDRAWN = ("outcome_withdrawn", Effect.STOPPED, "outcome withdrawn")
    MEMBER_WITHDRAWN = ("member_withdrawn", Effect.STOPPED, "member withdrawn")
    RANGE_NARROWED = ("range_narrowed", Effect.STOPPED, "narrower range")
    PRECISION_COARSER = ("precision_coarser", Effect.STOPPED, "coarser precision")
    BUCKETS_COARSER = ("buckets_coarser", Effect.STOPPED, "coarser buckets")
    SOURCE_WITHDRAWN = ("source_withdrawn", Effect.STOPPED, "source withdrawn")
    FEATURE_WITHDRAWN = ("feature_withdrawn", Effect.STOPPED, "feature withdrawn")
    FACT_WITHDRAWN = ("fact_withdrawn", Effect.STOPPED, "withdrawn")

    EVENT_RENAMED = ("event_renamed", Effect.HISTORY, "renamed")
    EVENT_RETIRED = ("event_retired", Effect.HISTORY, "retired")
    RETIREMENT_CHANGED = ("retirement_changed", Effect.HISTORY, "retirement told otherwise")
    DEPRECATION_CHANGED = ("deprecation_changed", Effect.HISTORY, "deprecation")

    DESCRIPTION_CHANGED = ("description_changed", Effect.MEANING, "description")
    QUESTION_CHANGED = ("question_changed", Effect.MEANING, "question")
    FEATURE_CHANGED = ("feature_changed", Effect.MEANING, "feature")
    ACTION_CHANGED = ("action_changed", Effect.MEANING, "action")
    OWNER_CHANGED = ("owner_changed", Effect.MEANING, "owner")
    ADDED_CHANGED = ("added_changed", Effect.MEANING, "day on which it was added")
    EXPIRY_CHANGED = ("expiry_changed", Effect.MEANING, "expiry")
    CORE_CHANGED = ("core_changed", Effect.MEANING, "core action")
    ACTIVE_CHANGED = ("active_changed", Effect.MEANING, "makes its user active")
    RATE_CHANGED = ("rate_changed", Effect.MEANING, "events of a user in a day")
    TYPE_CHANGED = ("type_changed", Effect.MEANING, "type, in the same column")
    SEARCHES_CHANGED = ("searches_changed", Effect.MEANING, "what counts as a search")
    BUDGET_CHANGED = ("budget_changed", Effect.MEANING, "information budget")
    SUPPRESSION_CHANGED = ("suppression_changed", Effect.MEANING, "lint rules that may be broken")
    FORMAT_CHANGED = ("format_changed", Effect.MEANING, "version of the format")
    NAME_CHANGED = ("name_changed", Effect.MEANING, "name of the plan")

    NAME_VANISHED = ("name_vanished", Effect.BREAKING, "vanished, neither retired nor renamed")
    NAME_REUSED = ("name_reused", Effect.BREAKING, "a name with a history of its own is used again")
    COLUMN_CHANGED = ("column_changed", Effect.BREAKING, "type of its stored column")
    VERSION_NOT_RAISED = ("version_not_raised", Effect.BREAKING, "version not raised, although the plan differs")

    def __init__(self, code: str, effect: Effect, words: str) -> None:
        self.code = code
        self.effect = effect
        self.words = words


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One difference between two plans."""

    kind: Kind
    path: Path
    """Where it stands in the new plan; in the old one for what is there no more."""
    old: str | None = None
    """What the old plan said, in words; None where there was nothing."""
    new: str | None = None
    """What the new plan says, in words; None where there is nothing any more."""

    @property
    def where(self) -> str:
        """The path as it is shown: ``events.SearchSubmitted.properties.rank``."""
        return ".".join(self.path)


class PlanDiff(msgspec.Struct, frozen=True, kw_only=True):
    """What differs between two plans."""

    old: str
    """Name and version of the old plan: ``code-intelligence@1``."""
    new: str
    changes: tuple[Change, ...]

    def with_effect(self, effect: Effect) -> list[Change]:
        """Return the changes that have this effect, in the order of the plan."""
        return [change for change in self.changes if change.kind.effect is effect]

    @property
    def collects_more(self) -> bool:
        """Whether anything can leave an instance under the new plan that could not under the old."""
        return bool(self.with_effect(Effect.COLLECTED))

    @property
    def breaks(self) -> bool:
        """Whether stored events could not be read any more, or could be read wrongly."""
        return bool(self.with_effect(Effect.BREAKING))
