"""The five questions: what each is called on the command line, its words, and the function that answers it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from heliograph.insights.answer import Answer
from heliograph.insights.intervene import answer_intervene
from heliograph.insights.power_users import answer_power_users
from heliograph.insights.searches import answer_searches
from heliograph.insights.sessions import answer_multi_feature_sessions
from heliograph.insights.stickiest import answer_stickiest


class Question(msgspec.Struct, frozen=True):
    """A question that a person has."""

    verb: str
    """Its name under ``heliograph ask``."""
    words: str
    """The question."""
    answer: Callable[..., Answer]
    """Takes the events, the plan and a scope, and by keyword what is particular to the question."""


QUESTIONS: Final = (
    Question("searches", "How many regex searches and literal searches did user X run this month?", answer_searches),
    Question("power-users", "How many users are power users?", answer_power_users),
    Question(
        "multi-feature-sessions",
        "How many users use several features in one session?",
        answer_multi_feature_sessions,
    ),
    Question(
        "intervene",
        "Is there a moment when we should step in with enablement or a message?",
        answer_intervene,
    ),
    Question("stickiest", "Which feature, or set of features, is stickiest?", answer_stickiest),
)
