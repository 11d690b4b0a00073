"""Settings come from one commented file and the environment; what is wrong is said at once."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as bounds
from hypothesis import strategies as st

from heliograph.settings import (
    GatewaySettings,
    RecorderSettings,
    Settings,
    SettingsError,
    commented_file,
    load_settings,
    masked,
)
from heliograph.settings.fields import FIELDS, SECTIONS
from heliograph.settings.load import anchored
from heliograph.settings.masking import MASK, mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from heliograph.settings.fields import Field

NOTHING: dict[str, str] = {}


def problems_of(path: Path | None, environment: Mapping[str, str] = NOTHING) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load_settings(path, environment=environment)
    return caught.value.problems


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "s.toml"
    path.write_text(text, encoding="utf-8")
    return path


def anchored_settings(settings: Settings, folder: Path) -> Settings:
    """Return `settings` as they are if they stand in a file in `folder`."""
    return Settings(
        **{
            section: msgspec.structs.replace(
                values := getattr(settings, section),
                **{name: anchored(getattr(values, name), folder) for name, field in fields.items() if field.path},
            )
            for section, fields in FIELDS.items()
        }
    )


def values_of(field: Field) -> st.SearchStrategy[Any]:
    """Draw what `field` may hold."""
    if field.expected.startswith("one of"):
        return st.sampled_from(field.expected.removeprefix("one of ").split(", "))
    if isinstance(field.default, bool):
        return st.booleans()
    if isinstance(field.default, int):
        bounds = {word: int(bound) for word, bound in re.findall(r"(from|to) (\d+)", field.expected)}
        return st.integers(bounds.get("from", 1), bounds.get("to", 2**63 - 1))
    if isinstance(field.default, float):
        return st.floats(0, exclude_min=True, allow_infinity=False)
    text = st.text(st.characters(codec="utf-8"), max_size=20)
    return st.lists(text, max_size=3).map(tuple) if field.is_list else text


ANY_SETTINGS = st.builds(
    Settings,
    **{
        section: st.builds(SECTIONS[section], **{name: values_of(field) for name, field in fields.items()})
        for section, fields in FIELDS.items()
    },
)


@bounds(deadline=None)
@given(ANY_SETTINGS)
def test_the_commented_file_reads_back_as_the_settings_it_was_printed_from(settings: Settings) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.toml"
        file.touch(0o600)
        file.write_bytes(commented_file(settings).encode())
        assert load_settings(file, environment={}) == anchored_settings(settings, Path(folder))


def test_the_commented_file_in_the_working_folder_is_as_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(environment={}) == Settings()
    (tmp_path / "heliograph.toml").write_text(commented_file(), encoding="utf-8")
    assert load_settings(environment={}) == Settings()
    (tmp_path / "heliograph.toml").write_text("[gateway]\nport = 1", encoding="utf-8")
    assert load_settings(environment={}).gateway == GatewaySettings(port=1)


def test_every_field_is_explained() -> None:
    for fields in FIELDS.values():
        for field in fields.values():
            assert field.description.endswith("."), field
            assert field.expected, field


def test_the_environment_overrides_the_file_and_the_file_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[gateway]\nport = 1\ntoken_seconds = 2\n[event_logs]\nrows = 7")
    environment = {
        "HELIOGRAPH_GATEWAY_PORT": "9443",
        "HELIOGRAPH_EVENT_LOGS_STATEMENT_TIMEOUT_SECONDS": "2.5",
        "HELIOGRAPH_EVENT_LOGS_DSN": "host=db",
        "HELIOGRAPH_AGENT_LEVEL": "off",
        "HELIOGRAPH_CONFIG": "elsewhere.toml",
        "HELIOGRAPH_SOMETHING_ELSE": "x",
        "PATH": "/bin",
    }
    settings = load_settings(file, environment=environment)
    assert (settings.gateway.port, settings.gateway.token_seconds) == (9443, 2)
    assert settings.gateway.policy_seconds == GatewaySettings().policy_seconds
    assert (settings.event_logs.rows, settings.event_logs.statement_timeout_seconds) == (7, 2.5)
    assert (settings.event_logs.dsn, settings.agent.level) == ("host=db", "off")


@given(ANY_SETTINGS)
def test_every_field_can_be_given_by_the_environment(settings: Settings) -> None:
    environment = {
        field.variable: json.dumps(value) if field.is_list else str(value)
        for section, fields in FIELDS.items()
        for name, field in fields.items()
        for value in [getattr(getattr(settings, section), name)]
    }
    assert load_settings(environment=environment) == settings


def test_a_list_in_the_environment_has_commas_between() -> None:
    told = load_settings(environment={"HELIOGRAPH_AGENT_OPERATORS": " 7, operator-* ,,8"})
    assert told.agent.operators == ("7", "operator-*", "8")
    for wrong in ("[7]", "[", '["a"'):
        [problem] = problems_of(None, environment={"HELIOGRAPH_AGENT_OPERATORS": wrong})
        assert problem.startswith("HELIOGRAPH_AGENT_OPERATORS: must be a list of texts.")


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        [recorder]
        outbox = "queue/outbox"
        [agent]
        key = "/etc/instance.pem"
        gateway = "https://example.org:8443"
        [registry]
        url = "sqlite:///state/registry.db?timeout=5"
        [lake]
        catalog = "postgresql://user@host/lake"
        warehouse = "s3://bucket/lake"
        """,
    )
    settings = load_settings(file, environment={"HELIOGRAPH_GATEWAY_LOG": "here"})
    assert settings.recorder.outbox == f"{tmp_path}/queue/outbox"
    assert settings.agent.key == "/etc/instance.pem"
    assert settings.agent.gateway == "https://example.org:8443"
    assert settings.agent.certificate_authority == ""
    assert settings.registry.url == f"sqlite:///{tmp_path}/state/registry.db?timeout=5"
    assert settings.lake.catalog == "postgresql://user@host/lake"
    assert settings.lake.warehouse == "s3://bucket/lake"
    assert settings.agent.state == f"{tmp_path}/agent", "a default starts there too"
    assert settings.gateway.log == "here", "the environment starts from the working folder"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////var/r.db",
        "sqlite:///file:r.db?uri=true",
        "sqlite+pysqlite:////r",
    ],
)
def test_a_database_without_a_relative_file_stays_as_it_is(url: str, tmp_path: Path) -> None:
    assert anchored(url, tmp_path) == url


def test_all_problems_are_reported_at_once_with_places(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    file = written(
        tmp_path,
        """\
[gateway]
port = 99999
prot = 1
host = 5
[recorder]
maximum_bytes = true
[agent]
idle_seconds = nan
timeout_seconds = 0
batch_events = 1.5
level = "all"
[gatway]
port = 1
""",
    )
    environment = {
        "HELIOGRAPH_LAKE_COMMIT_ROWS": "many",
        "HELIOGRAPH_LAKE_WEARHOUSE": "x",
        "HELIOGRAPH_LAKE_Q": "",
    }
    problems = [problem.replace(f"{tmp_path}/", "") for problem in problems_of(file, environment)]
    golden("tests/settings-problems.txt", "\n".join(problems) + "\n")


def test_an_explicit_file_must_exist(tmp_path: Path) -> None:
    said = "none.toml: cannot be read: No such file or directory. Name a settings file; `heliograph config init` "
    assert problems_of(tmp_path / "none.toml") == [f"{tmp_path}/{said}writes one."]
    assert "Is a directory" in problems_of(tmp_path)[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[gateway\nport = 1", "s.toml:1: not TOML: "),
        (b"[gateway]\nport = 1\nport = 2", "s.toml: not TOML: Cannot overwrite a value"),
        (b"[gateway]\nhost = 'caf\xe9'", "s.toml:2: is not UTF-8"),
        (b"gateway = 1", "s.toml:1: gateway: is not a table. Begin the section with a line `[gateway]`."),
        (b"gateway.port = 'x'", "s.toml:1: gateway.port: must be a whole number"),
        (b"[[gateway]]\nport = 1", "gateway: is not a table"),
        (b"x = " + b"[" * 100_000, "not TOML: "),
        (b"#" * (2 << 20), "is larger than"),
        (b"\x00", "not TOML: "),
        (b"[gateway]\nport = " + b"9" * 5_000, "s.toml: not TOML: Exceeds the limit"),
        (b'["a\\nb"]', "s.toml: 'a\\nb': is not a section"),
        (b"[agent]\nidle_seconds = inf", "agent.idle_seconds: must be a finite number above 0"),
        (b"[gateway]\ntoken_seconds = inf", "gateway.token_seconds: must be a whole number"),
        (b"[agent]\nidle_seconds = " + b"9" * 400, "agent.idle_seconds: must be a finite number above 0"),
    ],
)
def test_bad_files_are_refused_without_a_traceback(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(content)
    problems = problems_of(tmp_path / "s.toml")
    assert len(problems) == 1
    assert said in problems[0]
    assert problems[0].isprintable()


@given(
    st.binary(max_size=100),
    st.dictionaries(st.sampled_from(["HELIOGRAPH_AGENT_KEY", "HELIOGRAPH_LAKE_X"]), st.text()),
)
def test_nothing_but_settings_or_their_problems_comes_out(content: bytes, environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.toml"
        file.write_bytes(content)
        try:
            load_settings(file, environment=environment)
        except SettingsError as error:
            assert error.problems  # noqa: PT017 - either end is right, a third is not


def test_no_problem_repeats_a_value(tmp_path: Path) -> None:
    secret = "host=db password=hunter2"
    file = written(tmp_path, f'[event_logs]\nrows = "{secret}"\ndsm = "{secret}"\n[agent]\nlevel = "{secret}"')
    environment = {field.variable: f"{secret}\udcff" for fields in FIELDS.values() for field in fields.values()}
    problems = problems_of(file, environment | {"HELIOGRAPH_EVENT_LOGS_DSNN": secret})
    assert len(problems) == 3 + len(environment) + 1
    assert "hunter2" not in "\n".join(problems)


SECRETS = st.text(st.characters(codec="ascii", categories=["L", "N", "P", "S"]), min_size=6).filter(
    lambda text: not set(text) & set("@'\\&")
)


@given(SECRETS)
def test_passwords_in_connection_strings_are_masked(secret: str) -> None:
    secret = f"#{secret}#"
    for connection in (
        f"postgresql://user:{secret}@host:5432/db",
        f"postgresql://host/db?user=u&password={secret}",
        f"host=db user=u password={secret} dbname=x",
        f"host=db password = '{secret} {secret}' dbname=x",
        f"host=db sslpassword='{secret}",
        secret.replace("=", ""),
    ):
        shown = mask(connection)
        assert secret not in shown
        assert MASK in shown


def test_what_is_no_password_is_shown() -> None:
    assert mask("") == ""
    assert mask("sqlite:///registry.db") == "sqlite:///registry.db"
    assert mask("host=db user=u password=x dbname=d") == f"host=db user=u password={MASK} dbname=d"
    assert mask("postgresql://u:p@q@host/db") == f"postgresql://u:{MASK}@host/db"


def test_a_secret_that_is_no_connection_string_is_masked_whole() -> None:
    for secret in ("canary", "canary=1==", "https://canary", "a=b canary=c"):
        settings = load_settings(environment={"HELIOGRAPH_CRM_CONSUMER_SECRET": secret})
        assert settings.crm.consumer_secret == secret
        assert masked(settings).crm.consumer_secret == MASK
        assert "canary" not in commented_file(masked(settings))


def test_a_secret_in_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = written(tmp_path, '[crm]\nconsumer_secret = "canary"\n[gateway]\nprt = 1')
    file.chmod(0o640)
    problems = problems_of(file)
    assert len(problems) == 2
    assert problems[1] == (
        f"{file}: crm.consumer_secret: others may read this file. Give the secret by HELIOGRAPH_CRM_CONSUMER_SECRET "
        f"in the environment; or run `chmod 600 {file}`."
    )
    file.chmod(0o600)
    file.write_text('[crm]\nconsumer_secret = "canary"', encoding="utf-8")
    assert load_settings(file, environment={}).crm.consumer_secret == "canary"
    file.write_text('[crm]\nconsumer_secret = ""', encoding="utf-8")
    file.chmod(0o644)
    assert load_settings(file, environment={}).crm.consumer_secret == ""


def test_masked_settings_differ_in_secrets_alone() -> None:
    settings = load_settings(environment={"HELIOGRAPH_EVENT_LOGS_DSN": "postgresql://u:p@h/d"})
    assert masked(settings).event_logs.dsn == f"postgresql://u:{MASK}@h/d"
    assert masked(Settings()) == Settings()
    assert masked(settings).recorder == RecorderSettings()


PAGE = """\
# The settings

One file holds all settings of both ends. `heliograph config init` writes it as it stands here, with every
setting at its default; `heliograph config show` prints the settings in force. Without `--config FILE`, or
`HELIOGRAPH_CONFIG` in the environment, it is `heliograph.toml` in the working folder, if there is one.

```toml
{file}```
"""


def test_the_documentation_is_the_commented_file(golden: Callable[[str, str], None]) -> None:
    golden("docs/settings.md", PAGE.format(file=commented_file()))
