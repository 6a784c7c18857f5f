"""The app settings: read once, checked as a whole, and every error found is named in one message."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Literal
from urllib.parse import urlsplit

from shared.dates import parse_day
from shared.errors import InvalidDate, SettingsError
from shared.http import is_loopback
from shared.redact import Redaction

ENDPOINTS = {
    "eu": "https://analytics.eu.amplitude.com/api/2/export",
    "us": "https://amplitude.com/api/2/export",
}
"""The Export API by data region (Amplitude's documentation)."""

KNOWN = frozenset({
    "AMP_API_KEY", "AMP_SECRET_KEY", "AMP_DATA_REGION", "AMP_EXPORT_URL",
    "EXPORT_STORAGE", "EXPORT_STORAGE__blobServiceUri", "EXPORT_STORAGE__clientId",
    "EXPORT_CONTAINER", "EXPORT_PREFIX", "EXPORT_FORMAT", "EXPORT_SCHEDULE", "EXPORT_QUEUE", "EXPORT_LOOKBACK_DAYS",
    "EXPORT_RECHECK", "EXPORT_START_DATE", "EXPORT_RETENTION_DAYS", "EXPORT_HTTP_AUTH", "EXPORT_WINDOW_HOURS",
    "EXPORT_MAX_ATTEMPTS", "EXPORT_RETRY_SECONDS", "EXPORT_READ_TIMEOUT_SECONDS",
})  # fmt: skip
"""All settings of the app."""

DEFAULT_SCHEDULE = "0 30 3 * * *"
DEFAULT_QUEUE = "amplitude-exports"
MAX_DAYS = 36500

_MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
_WEEKDAYS = "SUNDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY"
_LIKE_A_KEY = re.compile(r"[^\s,;:*]{16}")
_KEY_VAULT = "@Microsoft.KeyVault("
_QUOTES = ("'", '"')
_DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"


@dataclass(frozen=True, slots=True)
class Settings:
    """All app settings, checked. Secrets do not show in the repr."""

    api_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    export_url: str
    region: str
    storage_connection: str = field(repr=False)
    """A connection string; empty where `storage_url` is set."""
    storage_url: str
    storage_client_id: str
    container: str
    prefix: str
    format: Literal["json", "json.gz"]
    schedule: str
    queue: str
    lookback_days: int
    recheck: Literal["all", "empty-hours", "off"]
    start_date: date | None
    retention_days: int
    http_auth: Literal["function", "entra"]
    window_hours: int
    max_attempts: int
    retry_seconds: float
    read_timeout_seconds: float
    in_azure: bool

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen: the keys, and the account key inside a connection string."""
        account_key = re.search(r"AccountKey=([^;]+)", self.storage_connection)
        signature = re.search(r"SharedAccessSignature=([^;]+)", self.storage_connection)
        found = (self.api_key, self.secret_key, *(m.group(1) for m in (account_key, signature) if m))
        return tuple(secret for secret in found if secret)


def binding_schedule(environ: Mapping[str, str]) -> str:
    """The timer's schedule: the default where the setting is absent or could not be understood by the host."""
    schedule = environ.get("EXPORT_SCHEDULE", "").strip()
    return schedule if _is_ncrontab(schedule) else DEFAULT_SCHEDULE


def binding_queue(environ: Mapping[str, str]) -> str:
    """The queue's name: the default where the setting is absent or is no name of a queue."""
    queue = environ.get("EXPORT_QUEUE", "").strip()
    return queue if _is_queue_name(queue) else DEFAULT_QUEUE


def uses_entra(environ: Mapping[str, str]) -> bool:
    """Whether the routes rely on the platform's sign-in: `EXPORT_HTTP_AUTH` is `entra`, in capitals or not."""
    return environ.get("EXPORT_HTTP_AUTH", "").strip().lower() == "entra"


def sign_in_problem(environ: Mapping[str, str]) -> str:
    """Why nobody may call the routes: who may is unclear, or the settings rely on a sign-in that is off; else empty.

    It concerns the routes alone: the timer and the queues go on.
    """
    reader = _Reader(environ)
    reader.http_auth()
    if reader.problems:
        return f"{reader.problems[0]}: until then the routes stay shut, and the nights go on"
    if not uses_entra(environ) or environ.get("WEBSITE_AUTH_ENABLED", "").strip().lower() in ("true", "1"):
        return ""
    return (
        "EXPORT_HTTP_AUTH is entra, but the platform's sign-in is off (WEBSITE_AUTH_ENABLED is not True), so anyone "
        "could claim to be signed in: turn on App Service authentication, or set EXPORT_HTTP_AUTH to function"
    )


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check all settings.

    Raises:
        SettingsError: one message that names every setting that is missing, malformed, contradictory or unresolved.

    """
    return _load(_Reader(environ))


def load_storage_settings(environ: Mapping[str, str]) -> Settings:
    """Read and check the settings for a command that only reads the container.

    Amplitude's settings are neither needed nor checked: the keys in the result are empty.

    Raises:
        SettingsError: as `load_settings`.

    """
    without_amplitude = {name: value for name, value in environ.items() if not name.startswith("AMP_")}
    return _load(_Reader(without_amplitude, needs_keys=False))


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """A warning for each name that looks like a setting of this app and is none: it may be misspelt."""
    warnings = []
    for name in sorted(environ.keys() - KNOWN):
        if name.startswith(("AMP_", "EXPORT_")):
            likely = difflib.get_close_matches(name, KNOWN, n=1)
            hint = f" Did you mean {likely[0]}?" if likely else ""
            warnings.append(f"{name} is not a setting of this app and has no effect.{hint}")
    return warnings


def _load(reader: _Reader) -> Settings:
    region = reader.choice("AMP_DATA_REGION", "eu", ("eu", "us"))
    connection, url = reader.storage()
    settings = Settings(
        api_key=reader.secret("AMP_API_KEY"),
        secret_key=reader.secret("AMP_SECRET_KEY"),
        export_url=reader.endpoint("AMP_EXPORT_URL", region),
        region=region,
        storage_connection=connection,
        storage_url=url,
        storage_client_id=reader.text("EXPORT_STORAGE__clientId"),
        container=reader.matching(
            "EXPORT_CONTAINER",
            "amplitude-events",
            _is_container_name,
            "a container's name: 3 to 63 lower-case letters, digits and single hyphens",
        ),
        prefix=reader.prefix("EXPORT_PREFIX"),
        format=reader.choice("EXPORT_FORMAT", "json", ("json", "json.gz")),  # type: ignore[arg-type]
        schedule=reader.matching(
            "EXPORT_SCHEDULE", DEFAULT_SCHEDULE, _is_ncrontab, "a six-field NCRONTAB expression like 0 30 3 * * *"
        ),
        queue=reader.matching(
            "EXPORT_QUEUE",
            DEFAULT_QUEUE,
            _is_queue_name,
            "a queue's name: 3 to 56 lower-case letters, digits and single hyphens",
        ),
        lookback_days=reader.whole("EXPORT_LOOKBACK_DAYS", 7, 0, 366),
        recheck=reader.choice("EXPORT_RECHECK", "all", ("all", "empty-hours", "off")),  # type: ignore[arg-type]
        start_date=reader.day("EXPORT_START_DATE"),
        retention_days=reader.whole("EXPORT_RETENTION_DAYS", 0, 0, MAX_DAYS),
        http_auth=reader.http_auth(),
        window_hours=reader.whole("EXPORT_WINDOW_HOURS", 24, 1, 24),
        max_attempts=reader.whole("EXPORT_MAX_ATTEMPTS", 5, 1, 100),
        retry_seconds=reader.decimal("EXPORT_RETRY_SECONDS", 1.0, 0.0, 60.0),
        read_timeout_seconds=reader.decimal("EXPORT_READ_TIMEOUT_SECONDS", 600.0, 0.1, 3600.0),
        in_azure=reader.in_azure,
    )
    reader.finish()
    return settings


class _Reader:
    """Reads settings one by one, and remembers what is wrong with them."""

    def __init__(self, environ: Mapping[str, str], *, needs_keys: bool = True) -> None:
        self._environ = environ
        self._needs_keys = needs_keys
        self.problems: list[str] = []

    @property
    def in_azure(self) -> bool:
        return "WEBSITE_INSTANCE_ID" in self._environ or "IDENTITY_ENDPOINT" in self._environ

    def text(self, name: str, default: str = "") -> str:
        value = self._environ.get(name, "").strip()
        if value.startswith(_KEY_VAULT):
            self._wrong(
                name,
                "is a Key Vault reference that did not resolve: does the secret exist in the vault, "
                "and may the app's identity read it (role Key Vault Secrets User)?",
            )
            return default
        return value or default

    def secret(self, name: str) -> str:
        before = len(self.problems)
        value = self.text(name)
        if not value and len(self.problems) == before and self._needs_keys:
            self._wrong(name, "is missing: the key of your Amplitude project (Settings > Projects > General)")
        if value[:1] in _QUOTES and value[:1] == value[-1:]:
            self._wrong(name, "is wrapped in quotes: enter the key without them")
        if not value.isprintable() or (":" in value and name == "AMP_API_KEY"):
            self._wrong(name, "holds characters that no Amplitude key has: was it copied whole, and alone?")
        return value

    def choice(self, name: str, default: str, choices: tuple[str, ...]) -> str:
        value = self.text(name, default).lower()
        if value not in choices:
            self._wrong(name, f"must be {', '.join(choices[:-1])} or {choices[-1]}{self._shown(value)}")
            return default
        return value

    def http_auth(self) -> Literal["function", "entra"]:
        return self.choice("EXPORT_HTTP_AUTH", "function", ("function", "entra"))  # type: ignore[return-value]

    def matching(self, name: str, default: str, test: Callable[[str], bool], expected: str) -> str:
        value = self.text(name, default)
        if not test(value):
            self._wrong(name, f"must be {expected}{self._shown(value)}")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name, str(default))
        if re.fullmatch(r"[0-9]{1,9}", value) and least <= int(value) <= most:
            return int(value)
        self._wrong(name, f"must be a whole number from {least} to {most}{self._shown(value)}")
        return default

    def decimal(self, name: str, default: float, least: float, most: float) -> float:
        value = self.text(name, str(default))
        if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", value) and least <= float(value) <= most:
            return float(value)
        self._wrong(name, f"must be a number from {least:g} to {most:g}{self._shown(value)}")
        return default

    def day(self, name: str) -> date | None:
        value = self.text(name)
        if not value:
            return None
        try:
            return parse_day(value)
        except InvalidDate:
            self._wrong(name, f"must be a date like 2025-11-04{self._shown(value)}")
            return None

    def prefix(self, name: str) -> str:
        value = self._environ.get(name, "")  # taken literally, spaces included
        if value.startswith(_KEY_VAULT):
            return self.text(name)
        # HTTP clients resolve "." and "..": such a name would be one of another folder, even of another container.
        folders = value.split("/")[:-1]
        if len(value) > 512 or not value.isprintable() or "\\" in value or not {"", ".", ".."}.isdisjoint(folders):  # noqa: PLR2004
            self._wrong(
                name,
                "must be at most 512 printable characters, without a backslash, a slash at the start, or a folder "
                "that is named by nothing or by dots",
            )
        return value

    def endpoint(self, name: str, region: str) -> str:
        value = self.text(name)
        if not value:
            return ENDPOINTS[region]
        try:
            parts = urlsplit(value)
            host, user, _ = parts.hostname or "", parts.username, parts.port
        except ValueError:
            self._wrong(name, "is no URL")
            return ENDPOINTS[region]
        if parts.scheme not in ("http", "https") or not re.fullmatch(r"[!-~]+", value) or not host:
            self._wrong(name, "must be an http or https URL")
        elif user is not None or parts.query or parts.fragment:
            self._wrong(name, "must hold neither credentials nor a query: keys belong into AMP_API_KEY, AMP_SECRET_KEY")
        elif parts.scheme == "http" and not is_loopback(host):
            self._wrong(
                name, "may use plain http only to a loopback address: the keys would go over the wire unprotected"
            )
        elif region == "eu" and _is_amplitude_us(host):
            self._wrong(name, "points to Amplitude's US servers while AMP_DATA_REGION is eu")
        return value

    def storage(self) -> tuple[str, str]:
        connection, url = self.text("EXPORT_STORAGE"), self.text("EXPORT_STORAGE__blobServiceUri")
        if bool(connection) == bool(url) and not any(p.startswith("EXPORT_STORAGE") for p in self.problems):
            self._wrong(
                "EXPORT_STORAGE, EXPORT_STORAGE__blobServiceUri",
                "just one of them must be set: the URL of the account for a managed identity, "
                "or, on a laptop, a connection string",
            )
        if (
            connection
            and connection.lower() != _DEVELOPMENT_STORAGE.lower()
            and not re.search(r"(^|;)\s*(AccountName|BlobEndpoint)\s*=\s*[^;\s]", connection, re.IGNORECASE)
        ):
            self._wrong("EXPORT_STORAGE", f"must be a connection string, or {_DEVELOPMENT_STORAGE}")
        if _leaves_in_clear(connection):
            self._wrong(
                "EXPORT_STORAGE",
                "may use plain http only to a loopback address: events and signature would go unprotected",
            )
        if url:
            self._check_account(url)
        return connection, url

    def _check_account(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname or "", parts.port
        except ValueError:
            parts, host = urlsplit(""), ""
        if parts.scheme != "https" or not host or parts.username is not None or parts.query or parts.fragment:
            self._wrong(
                "EXPORT_STORAGE__blobServiceUri",
                "must be the https URL of the account's blob service, like https://account.blob.core.windows.net, "
                "without a signature",
            )

    def finish(self) -> None:
        if self.problems:
            raise SettingsError("App settings to fix: " + "; ".join(self.problems) + ".", self.problems)

    def _shown(self, value: str) -> str:
        """A wrong value for a message; nothing of one that could be a key pasted into the wrong setting."""
        secrets = [self._environ.get(name, "").strip() for name in ("AMP_API_KEY", "AMP_SECRET_KEY", "EXPORT_STORAGE")]
        secret = _LIKE_A_KEY.search(value) or value in secrets or Redaction(secrets).finds(value)
        return "" if secret else f", not {value[:40]!r}"

    def _wrong(self, name: str, what: str) -> None:
        self.problems.append(f"{name} {what}")


def _leaves_in_clear(connection: str) -> bool:
    """Whether a connection string leads to another machine by anything but https, in whatever form it says so."""
    parts = (part.partition("=") for part in connection.split(";"))
    values = {name.strip().lower(): value.strip() for name, _, value in parts}
    endpoints = {values.get("blobendpoint", ""), values.get("blobsecondaryendpoint", "")}
    if not values.get("blobendpoint") and values.get("accountname"):
        endpoints.add(f"{values.get('defaultendpointsprotocol') or 'https'}://{values['accountname']}.blob")
    return not all(_is_protected(url) for url in endpoints if url)


def _is_protected(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme == "https" or is_loopback(parts.hostname or "")
    except ValueError:
        return False


def _is_amplitude_us(host: str) -> bool:
    name = "." + host.rstrip(".")
    return name.endswith(".amplitude.com") and not name.endswith(".eu.amplitude.com")


def _is_container_name(name: str) -> bool:
    return 3 <= len(name) <= 63 and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) is not None  # noqa: PLR2004


def _is_queue_name(name: str) -> bool:
    # The host adds "-poison" for the messages it gives up, and a name has at most 63 characters.
    return _is_container_name(name) and len(name) <= 63 - len("-poison")


def _is_ncrontab(text: str) -> bool:
    """Whether the host can read a schedule: second, minute, hour, day, month, day of the week.

    A schedule that the host's parser (NCrontab) refuses keeps the timer from loading: only spaces separate its fields.
    It also takes `22-6` as `6-22`, any prefix of a name and a step of 0. These are refused here: nobody means them.
    """
    fields = [field for field in text.upper().split(" ") if field]
    limits = ((0, 59, ""), (0, 59, ""), (0, 23, ""), (1, 31, ""), (1, 12, _MONTHS), (0, 6, _WEEKDAYS))
    return len(fields) == len(limits) and all(
        _is_ncrontab_part(part, least, most, names)
        for field, (least, most, names) in zip(fields, limits, strict=True)
        for part in field.split(",")
    )


def _is_ncrontab_part(part: str, least: int, most: int, names: str) -> bool:
    """Whether it is `*`, one value or a range `a-b`, any of them with a step `/n`."""
    span, slash, step = part.partition("/")
    if slash and not re.fullmatch(r"0*[1-9][0-9]?", step):
        return False
    values = [_ncrontab_number(value, least, names) for value in span.split("-")]
    return span == "*" or (len(values) <= 2 and least <= values[0] <= values[-1] <= most)  # noqa: PLR2004


def _ncrontab_number(text: str, least: int, names: str) -> int:
    for number, name in enumerate(names.split(), least):
        if text in (name, name[:3]):
            return number
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else -1
