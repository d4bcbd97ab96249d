"""The shape of the configuration: sections, keys, types and defaults.

Owns what one table may hold. Never reads the environment or the configuration file, and never
relates two sections to each other.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from vpe_watcher.adapters.settings.network import (
    Network,
    allowed_networks,
    listen_address,
    network_of,
    split_listen,
    title,
    titles,
)
from vpe_watcher.adapters.settings.notify_values import (
    addresses,
    listed,
    minute_of,
    time_of_day,
    topics,
    webhook_address,
)
from vpe_watcher.adapters.settings.secrets import read_secret
from vpe_watcher.adapters.settings.values import (
    Address,
    Count,
    Days,
    Flag,
    Hours,
    JobBody,
    MarkerSuffix,
    OptionalCount,
    OptionalHours,
    OptionalPath,
    OptionalSize,
    PathValue,
    PositiveCount,
    PriorityValue,
    RateValue,
    Seconds,
    Secret,
    Size,
    String,
    ThreadCount,
    Words,
    api_version,
    modalities,
    region_name,
    unreserved_keys,
)
from vpe_watcher.core.notices import TOPICS
from vpe_watcher.core.priorities import Priority

OLD_VERSIONS = frozenset({"v1", "v2"})
GIBIBYTE = 1024**3


class Section(BaseModel):
    """A closed table: an unknown key is an error, and values never show in an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True
    )


class AuthSettings(Section):
    """How to get a token: client credentials or a ready-made one, never both."""

    client_id: String = ""
    client_secret: Secret = SecretStr("")
    client_secret_file: OptionalPath = None
    token_url: Address = "https://vpengine.eu.auth0.com/oauth/token"  # noqa: S105 - an address
    audience: String = "virtualpatientengine.com"
    access_token: Secret = SecretStr("")
    access_token_file: OptionalPath = None

    @property
    def is_ready_made(self) -> bool:
        """Tell whether the token was given as it is, so that no other can be asked for."""
        return bool(self.access_token) or self.access_token_file is not None

    def read_client_secret(self) -> str:
        """Return the client secret, from its file afresh. Raises `ConfigError` (`secret_file`)."""
        if self.client_secret_file is None:
            return self.client_secret.get_secret_value()
        return read_secret(self.client_secret_file, key="engine.auth.client_secret_file")

    def read_access_token(self) -> str:
        """Return the ready-made token, from its file afresh. Raises `ConfigError`."""
        if self.access_token_file is None:
            return self.access_token.get_secret_value()
        return read_secret(self.access_token_file, key="engine.auth.access_token_file")


class EngineSettings(Section):
    """Where the Engine is. Use `url` and `submit_route`, not the keys that they are made of."""

    region: Annotated[String, AfterValidator(region_name)] = "eu"
    base_url: Address = ""
    version: Annotated[String, AfterValidator(api_version)] = "24.06"
    submit_path: Literal["auto", "job", "generic-job"] = "auto"
    auth: AuthSettings = AuthSettings()

    @property
    def url(self) -> str:
        """Return the Engine's address without a slash at its end; `base_url` beats `region`."""
        return self.base_url or f"https://{self.region}.virtualpatientengine.com"

    @property
    def submit_route(self) -> str:
        """Return the last part of the submit address: `job`, or `generic-job` on old Engines."""
        if self.submit_path != "auto":
            return self.submit_path
        return "generic-job" if self.version in OLD_VERSIONS else "job"


class PatternSettings(Section):
    """Which mesh is what, by file name, case-insensitive."""

    ios_upper: Words = ("*upper*", "*maxilla*")
    ios_lower: Words = ("*lower*", "*mandib*")
    facial: Words = ("*face*", "*facial*")


class IntakeSettings(Section):
    """When a scan is ready and what becomes of it; a recipe may set each key for itself."""

    watch: Literal["auto", "events", "poll"] = "auto"
    scan_every_s: Seconds = 30.0
    settle_s: Seconds = 5.0
    series_settle_s: Seconds = 30.0
    series_max_wait_s: Seconds = 3600.0
    min_slices: Count = 10
    incomplete_after_s: Seconds = 600.0
    existing: Literal["take", "ignore"] = "take"
    late_slices: Literal["hold", "ignore"] = "hold"
    duplicates: Literal["skip", "rerun"] = "skip"
    ignore: Words = ()
    patterns: PatternSettings = PatternSettings()


class RecipeTable(IntakeSettings):
    """A recipe as written. Of the keys of `[intake]` only those that were set count."""

    inbox: OptionalPath = None
    outbox: OptionalPath = None
    leave_in_place: Flag = False
    exported_by_nfs: Flag = False
    require: Annotated[Words, AfterValidator(modalities)] = ()
    ready_marker: MarkerSuffix = ""
    job_json_keys: Annotated[Words, AfterValidator(unreserved_keys)] = ()
    jobs_per_day: OptionalCount = None
    priority: PriorityValue = Priority.NORMAL
    off_peak: OptionalHours = None
    uploads: Count = 0
    downloads: Count = 0
    jobs_in_flight: Count = 0
    upload_rate: RateValue = 0
    job: JobBody = {}


class DicomSettings(Section):
    """Who may send instances to us, and whose inbox they go into."""

    listen: Annotated[String, AfterValidator(listen_address)] = ""
    ae_title: Annotated[String, AfterValidator(title)] = "VPE-WATCHER"
    calling_ae_titles: Annotated[Words, AfterValidator(titles)] = ()
    addresses: Annotated[Words, AfterValidator(allowed_networks)] = ("127.0.0.1", "::1")
    recipe: String = "default"
    associations: PositiveCount = 10

    @property
    def address(self) -> tuple[str, int] | None:
        """Return the address and port to listen at; None: not at all."""
        return split_listen(self.listen) if self.listen else None

    @property
    def networks(self) -> tuple[Network, ...]:
        """Return where senders may come from."""
        return tuple(network_of(word) for word in self.addresses)


class LimitSettings(Section):
    """How much at once, how often, how long."""

    uploads: ThreadCount = 2
    downloads: ThreadCount = 4
    upload_rate: RateValue = 0
    big_upload: OptionalSize = GIBIBYTE
    jobs_in_flight: PositiveCount = 32
    jobs_per_day: Count = 200
    poll_every_s: Seconds = 10.0
    poll_at_most_s: Seconds = 60.0
    processing_at_most_h: Hours = 24.0
    retry_first_s: Seconds = 2.0
    retry_at_most_s: Seconds = 300.0
    retry_for_h: Hours = 48.0
    stop_grace_s: Seconds = 20.0
    connect_timeout_s: Seconds = 10.0
    stall_timeout_s: Seconds = 60.0


class DeliverySettings(Section):
    """What a delivered folder says."""

    identifiers: Flag = True


class RetentionSettings(Section):
    """How long inputs are kept, and how much disk stays free (bytes)."""

    on_success: Literal["archive", "delete"] = "archive"
    archive_days: Days = 0.0
    failed_days: Days = 0.0
    min_free: Size = 2 * GIBIBYTE
    prune_below: OptionalSize = None


class WebhookSettings(Section):
    """One address that gets signed JSON."""

    url: Annotated[SecretStr, BeforeValidator(webhook_address)] = SecretStr("")
    secret: Secret = SecretStr("")
    secret_file: OptionalPath = None

    def read_secret(self) -> str:
        """Return the secret, from its file afresh. Raises `ConfigError` (`secret_file`)."""
        if self.secret_file is None:
            return self.secret.get_secret_value()
        return read_secret(self.secret_file, key="notify.webhook.secret_file")


class NotifySettings(Section):
    """Who is told of what, and when."""

    on: Annotated[Words, AfterValidator(topics)] = tuple(str(topic) for topic in TOPICS)
    urls: Annotated[tuple[SecretStr, ...], BeforeValidator(addresses)] = ()
    urls_file: OptionalPath = None
    names: Flag = False
    quiet_hours: OptionalHours = None
    digest_at: Annotated[String, AfterValidator(time_of_day)] = "07:00"
    breaker_after_s: Seconds = 60.0
    give_up_after_h: Hours = 48.0
    webhook: WebhookSettings = WebhookSettings()

    @property
    def digest_minute(self) -> int | None:
        """Return the minute of the day of the digest; None: there is none."""
        return minute_of(self.digest_at)

    def read_urls(self) -> tuple[str, ...]:
        """Return the addresses, from their file afresh: one a line, # begins a comment.

        Raises `ConfigError` (`secret_file`, `notify_address`).
        """
        if self.urls_file is None:
            return tuple(one.get_secret_value() for one in self.urls)
        return listed(read_secret(self.urls_file, key="notify.urls_file"))


class LogSettings(Section):
    """How the log looks and what it may name."""

    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    names: Flag = False


class Document(Section, BaseSettings):
    """The whole configuration as written, all sources merged, paths absolute."""

    model_config = SettingsConfigDict(case_sensitive=True)

    inbox: PathValue = Path("/srv/vpe/inbox")
    outbox: PathValue = Path("/srv/vpe/outbox")
    archive: PathValue = Path("/srv/vpe/archive")
    failed: PathValue = Path("/srv/vpe/failed")
    state_file: PathValue = Path("/var/lib/vpe-watcher/state.sqlite3")
    engine: EngineSettings = EngineSettings()
    job: JobBody = {}
    recipes: dict[str, RecipeTable] = {}
    intake: IntakeSettings = IntakeSettings()
    dicom: DicomSettings = DicomSettings()
    limits: LimitSettings = LimitSettings()
    delivery: DeliverySettings = DeliverySettings()
    retention: RetentionSettings = RetentionSettings()
    notify: NotifySettings = NotifySettings()
    log: LogSettings = LogSettings()

    @classmethod
    def settings_customise_sources(
        cls, *_: Any, **usual: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read nothing but what it is given; the other sources are named at each load."""
        return (usual["init_settings"],)


def table_at(path: tuple[str, ...]) -> type[Section] | None:
    """Find the section that lies at a key path, or None if no closed table is there."""
    table: type[Section] | None = Document
    rest = list(path)
    while rest and table is not None:
        key = rest.pop(0)
        if table is Document and key == "recipes":
            table = RecipeTable if rest else None
            del rest[:1]
            continue
        field = table.model_fields.get(key)
        below = field.annotation if field is not None else None
        table = below if isinstance(below, type) and issubclass(below, Section) else None
    return table


def known_keys(path: tuple[str, ...] = ()) -> tuple[tuple[str, ...], ...]:
    """List the paths of all keys and tables outside the recipes, in the order of the sections."""
    table = table_at(path)
    if table is None:
        return ()
    here = tuple((*path, key) for key in table.model_fields)
    return here + tuple(deep for key in here for deep in known_keys(key))
