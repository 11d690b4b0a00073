"""The settings: a section for each part, and for each field its type, its default, and what it means.

The commented file and the documentation are printed from these definitions, so that they cannot differ.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

DEFAULT_FILE: Final = "heliograph.toml"
PREFIX: Final = "HELIOGRAPH_"

Port = Annotated[int, Meta(ge=0, le=65535)]
PositiveInt = Annotated[int, Meta(ge=1)]
UsageDays = Annotated[int, Meta(ge=35, le=3_650)]
"""A month of 28 days, and a week in which the agent did not run."""
LedgerDays = Annotated[int, Meta(ge=0, le=3_650)]
PositiveSeconds = Annotated[float, Meta(gt=0)]
Days = Annotated[int, Meta(ge=1, le=366)]
RetentionDays = Annotated[int, Meta(ge=0, le=36_500)]


def _about(text: str, *, path: bool = False, secret: bool = False, whole: bool = False) -> Meta:
    """Return what is known of a field beside its type.

    A `path` is a file or a folder, or a URL that may hold one (``sqlite:///…``); if it is relative, it starts
    from the settings file's folder. A `secret` may hold a password; it is `whole` when nothing of it may be shown.
    """
    return Meta(description=text, extra={"path": path, "secret": secret, "whole": whole})


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the settings file."""


class PlanSettings(Section, frozen=True, kw_only=True):
    """The tracking plan, which both ends hold."""

    file: Annotated[str, _about("The tracking plan: a YAML file, or a folder of them.", path=True)] = (
        "plans/code-intelligence.yaml"
    )


class RecorderSettings(Section, frozen=True, kw_only=True):
    """Recording inside the product, and the outbox that it writes."""

    outbox: Annotated[str, _about("Folder of the outbox: events wait here until they are acknowledged.", path=True)] = (
        "outbox"
    )
    maximum_bytes: Annotated[
        PositiveInt,
        _about("Bound of the outbox on disk, in bytes; past it new events are dropped, and counted."),
    ] = 1 << 30
    sync_milliseconds: Annotated[
        PositiveInt, _about("How often what was recorded is forced to disk, in milliseconds.")
    ] = 50
    keep_local: Annotated[
        bool,
        _about(
            "Whether events are recorded at level off too, for analytics on the instance alone: they never leave. "
            "The agent tells the recorders."
        ),
    ] = False


class AgentSettings(Section, frozen=True, kw_only=True):
    """The agent: the one process beside the product that sends."""

    gateway: Annotated[str, _about("Address of the vendor's gateway; https only.")] = "https://localhost:8443"
    proxy: Annotated[
        str,
        _about(
            "Proxy through which the gateway is reached: http://HOST:PORT, with USER:PASSWORD@ before the host if it "
            "asks for them; empty: the environment's (HTTPS_PROXY, NO_PROXY), if any; none: no proxy at all.",
            secret=True,
        ),
    ] = ""
    certificate_authority: Annotated[
        str, _about("File with the certificates to trust (PEM); empty: the system's.", path=True)
    ] = ""
    instance: Annotated[str, _about("Name of this instance, as the vendor registered it.")] = ""
    key: Annotated[str, _about("File with the instance's own Ed25519 private key (PEM).", path=True)] = "instance.pem"
    vendor_keys: Annotated[
        str,
        _about(
            "File with the vendor's public keys that this instance trusts, one a line as `heliograph gateway key` "
            "prints it there; without one nothing leaves.",
            path=True,
        ),
    ] = "vendor.keys"
    state: Annotated[str, _about("Folder of the agent's own state: pseudonyms and ledger.", path=True)] = "agent"
    level: Annotated[
        Literal["off", "critical", "events"],
        _about("The admin's choice: events, critical (aggregated and anonymised telemetry only) or off."),
    ] = "events"
    plan_updates: Annotated[
        Literal["vendor", "pinned"],
        _about(
            "Whether the vendor's plan is followed as its signed policy names it (vendor), or only as far as this "
            "instance's own plan.file declares the same (pinned)."
        ),
    ] = "vendor"
    held_days: Annotated[
        Days, _about("Days for which events that no plan has declared yet are set aside, should a plan declare them.")
    ] = 30
    operators: Annotated[
        tuple[str, ...],
        _about(
            "The product's own ids of the vendor's people who look after this instance; * at the end of one stands "
            "for any text. They are marked, and count nowhere; so do those that `heliograph agent mark` marks."
        ),
    ] = ()
    service_accounts: Annotated[
        tuple[str, ...], _about("Ids of programs: service accounts, scripts, monitors; likewise.")
    ] = ()
    batch_events: Annotated[
        PositiveInt, _about("Events in one delivery; up to eight times as many while a backlog is delivered.")
    ] = 5_000
    ledger_days: Annotated[
        LedgerDays,
        _about(
            "Days for which the exact bytes of what was sent are kept, to be read with `heliograph ledger show`; "
            "0: they are not. Their digests stay for ever."
        ),
    ] = 30
    ledger_bytes: Annotated[
        PositiveInt, _about("Bound of these bytes on disk; past it, the oldest are deleted before their time.")
    ] = 1 << 30
    usage_days: Annotated[
        UsageDays,
        _about("Days for which the instance remembers its own use, from which its pings are made."),
    ] = 90
    idle_seconds: Annotated[PositiveSeconds, _about("Pause between looks at an outbox with nothing new.")] = 1.0
    timeout_seconds: Annotated[
        PositiveSeconds, _about("How long connecting, each piece sent, and the whole answer may take.")
    ] = 30.0
    bytes_per_second: Annotated[
        int, Meta(ge=0), _about("Bytes that are sent in a second at most, on average; 0: no limit.")
    ] = 0
    metrics_file: Annotated[
        str,
        _about(
            "File for the agent's metrics, such as one in the folder of the node exporter's textfile collector; "
            "empty: metrics.prom in the state. The agent listens nowhere.",
            path=True,
        ),
    ] = ""


class EventLogsSettings(Section, frozen=True, kw_only=True):
    """The product's own `event_logs` table in PostgreSQL as a source."""

    dsn: Annotated[
        str,
        _about(
            "Connection string of the product's database; empty: not used. Best given by the environment.",
            secret=True,
        ),
    ] = ""
    table: Annotated[str, _about("The table, with its schema if it is not on the search path.")] = "event_logs"
    stitch: Annotated[
        bool,
        _about(
            "Whether a row with both user_id and anonymous_user_id says that this visitor has signed in as this user. "
            "Only if the table holds a visitor's own id there, and no word that many share."
        ),
    ] = False
    rows: Annotated[PositiveInt, _about("Rows read in one round, at most: one range of the primary key.")] = 5_000
    pause_seconds: Annotated[PositiveSeconds, _about("Pause between rounds when there was nothing new.")] = 2.0
    statement_timeout_seconds: Annotated[
        PositiveSeconds, _about("The database cancels any statement of ours that takes longer.")
    ] = 5.0
    linger_seconds: Annotated[
        PositiveSeconds,
        _about("How long a missing id is looked for at the least, after its writers have ended."),
    ] = 5.0


class GatewaySettings(Section, frozen=True, kw_only=True):
    """The vendor's gateway."""

    host: Annotated[str, _about("Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, _about("Port to listen on.")] = 8443
    workers: Annotated[
        PositiveInt,
        _about(
            "Processes that check deliveries, one a core; past one, the process that was started only writes the log "
            "and hands connections out."
        ),
    ] = 1
    certificate: Annotated[str, _about("The server's certificate chain (PEM).", path=True)] = "gateway.crt"
    private_key: Annotated[str, _about("The key of that certificate (PEM).", path=True)] = "gateway.key"
    signing_key: Annotated[
        str,
        _about(
            "Ed25519 private key (PEM) that signs tokens, policies and receipts; made at the first start. Beside it "
            "stands how it follows from those before it (.endorsements).",
            path=True,
        ),
    ] = "signing.pem"
    bundle_key: Annotated[
        str,
        _about(
            "Secret key (age) to which instances without a way here encrypt their bundles; made by "
            "`heliograph gateway bundle-key`.",
            path=True,
        ),
    ] = "bundle.key"
    log: Annotated[str, _about("Folder of the log: what was acknowledged and is not in the lake yet.", path=True)] = (
        "log"
    )
    segment_bytes: Annotated[PositiveInt, _about("Size of one log segment, in bytes.")] = 64 << 20
    maximum_log_bytes: Annotated[
        PositiveInt,
        _about("Bound of the log on disk; past it deliveries are refused with 507, and lost nowhere."),
    ] = 8 << 30
    maximum_body_bytes: Annotated[PositiveInt, _about("Largest request body, compressed.")] = 8 << 20
    maximum_inflated_bytes: Annotated[PositiveInt, _about("Largest request body, decompressed.")] = 64 << 20
    maximum_pending_bytes: Annotated[
        PositiveInt,
        _about(
            "Bodies that a worker holds at once, compressed; past it deliveries are refused with 503. One instance may "
            "take a quarter of it."
        ),
    ] = 256 << 20
    instance_bodies: Annotated[
        PositiveInt, _about("Deliveries of one instance that a worker handles at once; past it they get 429.")
    ] = 64
    instance_requests_per_second: Annotated[
        PositiveInt,
        _about("Deliveries of one instance, and pings, that a worker takes a second; ten seconds' worth at once."),
    ] = 1_000
    instance_bytes_per_second: Annotated[
        PositiveInt, _about("Likewise bytes of their bodies; past either they get 429.")
    ] = 128 << 20
    head_seconds: Annotated[
        PositiveSeconds,
        _about("How long a client may take to shake hands, for a request's headers, and for the body to begin."),
    ] = 10.0
    body_seconds: Annotated[PositiveSeconds, _about("How long a request's body may take.")] = 60.0
    slowest_bytes_per_second: Annotated[
        PositiveInt, _about("Whose body comes more slowly is cut off, after head_seconds.")
    ] = 4_096
    future_seconds: Annotated[
        PositiveSeconds, _about("How far ahead of the gateway's clock an event's time may lie.")
    ] = 900.0
    token_seconds: Annotated[PositiveInt, _about("Life of an instance's access token.")] = 600
    policy_seconds: Annotated[PositiveInt, _about("For how long an instance may rely on a policy.")] = 3_600
    metrics_port: Annotated[
        Port, _about("Port on 127.0.0.1 for the metrics and for readiness, in plain HTTP; 0: none.")
    ] = 0


class RegistrySettings(Section, frozen=True, kw_only=True):
    """Accounts, instances and agreements."""

    url: Annotated[str, _about("Database, as an SQLAlchemy URL.", path=True, secret=True)] = "sqlite:///registry.db"


class TrialsSettings(Section, frozen=True, kw_only=True):
    """Trials: the page on which a prospect accepts the Terms, and the webhook of the sign-up sites."""

    host: Annotated[str, _about("Address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, _about("Port to listen on.")] = 8444
    certificate: Annotated[str, _about("The server's certificate chain (PEM).", path=True)] = "trials.crt"
    private_key: Annotated[str, _about("The key of that certificate (PEM).", path=True)] = "trials.key"
    public_address: Annotated[
        str, _about("Where prospects reach the page: https, a host, and a port if need be. Links begin with it.")
    ] = "https://localhost:8444"
    vendor: Annotated[str, _about("The vendor's name, as the page shows it.")] = "the vendor"
    contact: Annotated[
        str,
        _about("Whom a prospect asks: a team's address, as the page shows it; empty: whoever sent the link."),
    ] = ""
    terms: Annotated[
        str, _about("The Terms that are accepted: a file in UTF-8, shown as text; see docs/trials.md.", path=True)
    ] = "terms.md"
    terms_version: Annotated[
        str, _about("Label of these Terms, such as 2026-05. A changed text needs a label of its own.")
    ] = ""
    link_days: Annotated[Days, _about("Days for which a link can be used, if not said otherwise.")] = 14
    sign_up_days: Annotated[Days, _about("Days of a trial whose sign-up does not say.")] = 30
    webhook_secrets: Annotated[
        str,
        _about(
            "Secrets of the sign-up webhook (whsec_…), with a space between; empty: see webhook_secrets_file. "
            "Best given by the environment.",
            secret=True,
            whole=True,
        ),
    ] = ""
    webhook_secrets_file: Annotated[
        str,
        _about(
            "File with these secrets, one a line, readable for its owner alone (mode 0600); empty: none. "
            "Without any secret no sign-up is taken.",
            path=True,
        ),
    ] = ""


class CrmSettings(Section, frozen=True, kw_only=True):
    """The CRM, or a file in its place, which mirrors what the registry's evidence allows."""

    kind: Annotated[
        Literal["none", "csv", "salesforce"], _about("Where the mirror is: a CSV file, Salesforce, or nowhere.")
    ] = "none"
    file: Annotated[str, _about("The CSV file, with the columns account, value and date.", path=True)] = "crm.csv"
    url: Annotated[
        str,
        _about("Address of the Salesforce organisation (My Domain), https only: https://example.my.salesforce.com."),
    ] = ""
    api_version: Annotated[str, _about("Version of Salesforce's REST API.")] = "62.0"
    certificate_authority: Annotated[
        str, _about("File with the certificates to trust (PEM); empty: the usual ones.", path=True)
    ] = ""
    consumer_key: Annotated[str, _about("Consumer key of the connected app (OAuth client credentials).")] = ""
    consumer_secret: Annotated[
        str,
        _about(
            "Its consumer secret; empty: from consumer_secret_file. Best given by the environment.",
            secret=True,
            whole=True,
        ),
    ] = ""
    consumer_secret_file: Annotated[
        str, _about("File with the consumer secret alone, which nobody but its owner may read (mode 0600).", path=True)
    ] = ""
    account_field: Annotated[
        str, _about("API name of the account field in Salesforce that holds the registry's account name.")
    ] = "Heliograph_Account__c"
    value_field: Annotated[str, _about("API name of the account field that says Yes or No.")] = (
        "User_Level_Event_Usage_Data_Analytics__c"
    )
    date_field: Annotated[str, _about("API name of the account field, of type date, that says since when.")] = (
        "User_Level_Event_Usage_Data_Since__c"
    )
    value_kind: Annotated[
        Literal["picklist", "checkbox"], _about("Whether the field that says Yes or No is a picklist or a checkbox.")
    ] = "picklist"
    yes: Annotated[str, _about("The word for Yes, in a picklist and in the CSV file.")] = "Yes"
    no: Annotated[str, _about("The word for No, in a picklist and in the CSV file.")] = "No"
    batch_records: Annotated[
        int, Meta(ge=1, le=200), _about("Records written by one request; Salesforce takes 200 at most.")
    ] = 200
    timeout_seconds: Annotated[PositiveSeconds, _about("How long to wait for an answer of the CRM.")] = 30.0


class LakeSettings(Section, frozen=True, kw_only=True):
    """The lake: Apache Iceberg tables over Parquet files."""

    warehouse: Annotated[
        str,
        _about("Where the tables are: a folder, or s3://bucket/prefix of an object store that speaks S3.", path=True),
    ] = "lake"
    log: Annotated[
        str,
        _about(
            "Where several gateways fill one lake: the name of this one's log, which no other has. Empty: there "
            "is one gateway."
        ),
    ] = ""
    store_endpoint: Annotated[
        str,
        _about("Address of the object store, such as https://s3.example.org; empty: AWS_ENDPOINT_URL, or Amazon's."),
    ] = ""
    store_region: Annotated[str, _about("Region of the bucket; empty: as AWS_REGION says.")] = ""
    store_access_key: Annotated[
        str, _about("Access key of the object store; empty: by AWS_ACCESS_KEY_ID, or what the machine is given.")
    ] = ""
    store_secret_key: Annotated[
        str,
        _about(
            "Its secret; empty: by AWS_SECRET_ACCESS_KEY, or what the machine is given. Best given by the environment.",
            secret=True,
            whole=True,
        ),
    ] = ""
    catalog: Annotated[str, _about("The Iceberg catalog, as an SQLAlchemy URL.", path=True, secret=True)] = (
        "sqlite:///lake/catalog.db"
    )
    commit_rows: Annotated[PositiveInt, _about("Rows that make the loader commit at once.")] = 250_000
    commit_seconds: Annotated[PositiveSeconds, _about("Longest wait of a loaded row for its commit.")] = 2.0
    metrics_file: Annotated[
        str,
        _about(
            "File for the loader's metrics, such as one in the folder of the node exporter's textfile collector; "
            "empty: metrics.prom in the warehouse, or beside the log if that is in an object store.",
            path=True,
        ),
    ] = ""
    upkeep_metrics_file: Annotated[
        str,
        _about(
            "File for the metrics of heliograph lake upkeep; empty: upkeep.prom in the warehouse, or beside the log if "
            "that is in an object store.",
            path=True,
        ),
    ] = ""
    erasure_grace_seconds: Annotated[
        PositiveSeconds,
        _about("How long an erasure leaves replaced files to whoever has just begun to read them, before it deletes."),
    ] = 5.0
    file_rows: Annotated[
        PositiveInt,
        _about("Rows of a file that compaction makes, at most about; sorting them takes 1 KB each at once."),
    ] = 2_000_000
    compact_files: Annotated[
        int, Meta(ge=2), _about("Small files of a partition from which on compaction makes one of them.")
    ] = 8
    keep_snapshots_seconds: Annotated[
        PositiveSeconds,
        _about(
            "How long a snapshot stays after a newer one has come: for so long a question may read files that were "
            "replaced meanwhile. Each commit makes one, and many make commits slow."
        ),
    ] = 300.0
    retain_events_days: Annotated[
        RetentionDays, _about("Events that happened more than so many days ago go for good; 0: none does.")
    ] = 0
    retain_pings_days: Annotated[RetentionDays, _about("Likewise pings, by the day that they are of; 0: none.")] = 0
    retain_marts_days: Annotated[
        RetentionDays,
        _about(
            "Likewise what is kept of days, users and sessions, made from events; 0: none. Longer than events, it "
            "answers most questions when these are gone."
        ),
    ] = 0
    orphan_seconds: Annotated[
        PositiveSeconds,
        _about("Age from which on a file that nothing refers to is an orphan: longer than any commit takes."),
    ] = 86_400.0


class EngineSettings(Section, frozen=True, kw_only=True):
    """What runs the questions, and the heavy work of the lake."""

    kind: Annotated[
        Literal["duckdb", "spark"],
        _about(
            "DuckDB, in the process that asks or maintains; or Apache Spark, on many machines, for a lake that one has "
            "outgrown. "
            "The answers are the same; docs/cluster.md has what Spark needs."
        ),
    ] = "duckdb"
    master: Annotated[
        str,
        _about("Where Spark runs: local[*] for all cores of this machine, or a master such as spark://host:7077."),
    ] = "local[*]"
    options: Annotated[
        tuple[str, ...],
        _about("Further settings of Spark's, each as its name=value, such as spark.executor.memory=4g."),
    ] = ()
    copies: Annotated[
        str,
        _about(
            "Folder for copies of an object store's files, which Spark reads in their place while a question runs; "
            "every machine of the cluster sees it under the same path.",
            path=True,
        ),
    ] = "spark-copies"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings, a section for each part."""

    plan: PlanSettings = PlanSettings()
    recorder: RecorderSettings = RecorderSettings()
    agent: AgentSettings = AgentSettings()
    event_logs: EventLogsSettings = EventLogsSettings()
    gateway: GatewaySettings = GatewaySettings()
    registry: RegistrySettings = RegistrySettings()
    trials: TrialsSettings = TrialsSettings()
    crm: CrmSettings = CrmSettings()
    lake: LakeSettings = LakeSettings()
    engine: EngineSettings = EngineSettings()
