"""One settings object for both ends: read once from one commented file and the environment, then passed down.

The environment overrides the file, and the file overrides the defaults; docs/settings.md has all of it.
"""

from __future__ import annotations

from heliograph.settings.file import commented_file
from heliograph.settings.load import SettingsError, load_settings
from heliograph.settings.masking import masked
from heliograph.settings.sections import (
    DEFAULT_FILE,
    PREFIX,
    AgentSettings,
    CrmSettings,
    EngineSettings,
    EventLogsSettings,
    GatewaySettings,
    LakeSettings,
    PlanSettings,
    RecorderSettings,
    RegistrySettings,
    Section,
    Settings,
    TrialsSettings,
)

__all__ = [
    "DEFAULT_FILE",
    "PREFIX",
    "AgentSettings",
    "CrmSettings",
    "EngineSettings",
    "EventLogsSettings",
    "GatewaySettings",
    "LakeSettings",
    "PlanSettings",
    "RecorderSettings",
    "RegistrySettings",
    "Section",
    "Settings",
    "SettingsError",
    "TrialsSettings",
    "commented_file",
    "load_settings",
    "masked",
]
