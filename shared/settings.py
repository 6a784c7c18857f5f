"""The app settings: read once and checked as a whole; one message names all errors.

Each field of `Settings` has the setting's name, the function that reads it, and its default.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import date
from functools import partial
from typing import Any, Literal

from shared.dates import parse_day
from shared.errors import InvalidDate, SettingsError
from shared.http import host_of, is_protected
from shared.names import Names
from shared.redact import Redaction

ENDPOINTS = {
    "eu": "https://analytics.eu.amplitude.com/api/2/export",
    "us": "https://amplitude.com/api/2/export",
}
"""The Export API by data region (Amplitude's documentation)."""

DEFAULT_SCHEDULE = "0 30 3 * * *"
DEFAULT_QUEUE = "amplitude-exports"

_MONTHS = "JANUARY FEBRUARY MARCH APRIL MAY JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
_WEEKDAYS = "SUNDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY"
_NOT_AN_ADDRESS = re.compile(r"[?#]|://[^/]*@")
"""What a URL has beside an address: a query, a fragment, a user."""
_LIKE_A_KEY = re.compile(r"[^\s,;:*]{16}")
_DEVELOPMENT_STORAGE = "UseDevelopmentStorage=true"
_LONGEST_PREFIX = 512


class _Expected(ValueError):
    """What a value must be. The message may show the value, unless it could be a key."""


def _key(forbidden: str, value: str) -> str:
    if not value:
        raise ValueError("is missing: enter the key of your Amplitude project (Settings > Projects > General)")
    if value[0] == value[-1] and value[0] in "'\"":
        raise ValueError("is wrapped in quotes: enter the key without them")
    if not value.isprintable() or not set(forbidden).isdisjoint(value):
        raise ValueError("has characters that no Amplitude key has: copy only the key, and all of it")
    return value


def _choice[T: str](*choices: T) -> Callable[[str], T]:
    def read(value: str) -> T:
        for choice in choices:
            if choice == value.lower():
                return choice
        raise _Expected(f"{', '.join(choices[:-1])} or {choices[-1]}")

    return read


def _whole(least: int, most: int, value: str) -> int:
    if re.fullmatch(r"[0-9]{1,9}", value) and least <= int(value) <= most:
        return int(value)
    raise _Expected(f"a whole number from {least} to {most}")


def _decimal(least: float, most: float, value: str) -> float:
    if re.fullmatch(r"[0-9]{0,9}\.?[0-9]{1,9}", value) and least <= float(value) <= most:
        return float(value)
    raise _Expected(f"a number from {least:g} to {most:g}")


def _name(what: str, longest: int, value: str) -> str:
    if 3 <= len(value) <= longest and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value):  # noqa: PLR2004
        return value
    raise _Expected(f"a {what}'s name: 3 to {longest} lower-case letters, digits and single hyphens")


def _day(value: str) -> date | None:
    try:
        return parse_day(value) if value else None
    except InvalidDate:
        raise _Expected("a date like 2025-11-04") from None


def _prefix(value: str) -> str:
    # HTTP clients resolve "." and "..": such a name would lead to another folder, even to another container.
    folders = value.split("/")[:-1]
    safe = value.isprintable() and "\\" not in value and {"", ".", ".."}.isdisjoint(folders)
    if len(value) > _LONGEST_PREFIX or not safe:
        raise ValueError(
            f"must have at most {_LONGEST_PREFIX} printable characters, no backslash, no slash at the start, and no "
            "folder with an empty name or a name of dots"
        )
    return value


def _endpoint(value: str) -> str:
    if value and not _is_url(value):
        raise ValueError("must be an http or https URL")
    if _NOT_AN_ADDRESS.search(value):
        raise ValueError("must not contain credentials or a query: set AMP_API_KEY and AMP_SECRET_KEY")
    if value and not is_protected(value):
        raise ValueError("may use plain http only to a loopback address: use https, or others could read the keys")
    return value


def _account(value: str) -> str:
    is_https = value.lower().startswith("https:") and _is_url(value)
    if value and (not is_https or _NOT_AN_ADDRESS.search(value)):
        raise ValueError(
            "must be the https URL of the account's blob service, like https://account.blob.core.windows.net, without "
            "a signature"
        )
    return value


def _is_url(value: str) -> bool:
    return bool(re.fullmatch(r"(?i)https?://[!-\[\]-~]+", value) and host_of(value))


def _connection(value: str) -> str:
    """Check a connection string: in whatever form it is written, it may lead to another machine only by https."""
    if not value or value.lower() == _DEVELOPMENT_STORAGE.lower():
        return value
    parts = (part.partition("=") for part in value.split(";"))
    given = {name.strip().lower(): text.strip() for name, _, text in parts}
    account, endpoint = given.get("accountname"), given.get("blobendpoint")
    if not account and not endpoint:
        raise ValueError(f"must be a connection string, or {_DEVELOPMENT_STORAGE}")
    endpoint = endpoint or f"{given.get('defaultendpointsprotocol') or 'https'}://{account}.blob"
    second = given.get("blobsecondaryendpoint") or endpoint
    if not (is_protected(endpoint) and is_protected(second)):
        raise ValueError("may use plain http only to a loopback address: use https, or others could read the events")
    return value


def _schedule(text: str) -> str:
    """A schedule that the host can read: second, minute, hour, day, month, day of the week.

    If the host's parser (NCrontab) refuses a schedule, the timer does not load. Only spaces separate the fields.
    The parser also accepts `22-6` (as `6-22`), any prefix of a name and a step of 0. Nobody means these: refused here.
    """
    given = [field for field in text.upper().split(" ") if field]
    limits = ((0, 59, ""), (0, 59, ""), (0, 23, ""), (1, 31, ""), (1, 12, _MONTHS), (0, 6, _WEEKDAYS))
    if len(given) != len(limits) or not all(
        _is_ncrontab_part(part, least, most, names)
        for field, (least, most, names) in zip(given, limits, strict=True)
        for part in field.split(",")
    ):
        raise _Expected("a six-field NCRONTAB expression like 0 30 3 * * *")
    return text


def _is_ncrontab_part(part: str, least: int, most: int, names: str) -> bool:
    """Whether it is `*`, one value or a range `a-b`. A step `/n` may follow."""
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


def _setting[T](name: str, read: Callable[[str], T], default: str = "", *, shows: bool = True) -> T:
    return field(metadata={"name": name, "read": read, "default": default}, repr=shows)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Settings:
    """All app settings, checked. Secrets do not show in the repr. `storage_url` or `storage_connection` is empty."""

    in_azure: bool
    api_key: str = _setting("AMP_API_KEY", partial(_key, ":"), shows=False)
    secret_key: str = _setting("AMP_SECRET_KEY", partial(_key, ""), shows=False)
    region: str = _setting("AMP_DATA_REGION", _choice("eu", "us"), "eu")
    export_url: str = _setting("AMP_EXPORT_URL", _endpoint)
    storage_connection: str = _setting("EXPORT_STORAGE", _connection, shows=False)
    storage_url: str = _setting("EXPORT_STORAGE__blobServiceUri", _account)
    storage_client_id: str = _setting("EXPORT_STORAGE__clientId", str)
    container: str = _setting("EXPORT_CONTAINER", partial(_name, "container", 63), "amplitude-events")
    prefix: str = _setting("EXPORT_PREFIX", _prefix)
    format: Literal["json", "json.gz"] = _setting("EXPORT_FORMAT", _choice("json", "json.gz"), "json")
    schedule: str = _setting("EXPORT_SCHEDULE", _schedule, DEFAULT_SCHEDULE)
    # Failed messages go to a queue of this name with "-poison" at its end, and a name has at most 63 characters.
    queue: str = _setting("EXPORT_QUEUE", partial(_name, "queue", 63 - len("-poison")), DEFAULT_QUEUE)
    lookback_days: int = _setting("EXPORT_LOOKBACK_DAYS", partial(_whole, 0, 366), "7")
    recheck: Literal["all", "empty-hours", "off"] = _setting(
        "EXPORT_RECHECK", _choice("all", "empty-hours", "off"), "all"
    )
    start_date: date | None = _setting("EXPORT_START_DATE", _day)  # noqa: RUF009 - a date cannot be changed
    retention_days: int = _setting("EXPORT_RETENTION_DAYS", partial(_whole, 0, 36500), "0")
    http_auth: Literal["function", "entra"] = _setting("EXPORT_HTTP_AUTH", _choice("function", "entra"), "function")
    window_hours: int = _setting("EXPORT_WINDOW_HOURS", partial(_whole, 1, 24), "24")
    max_attempts: int = _setting("EXPORT_MAX_ATTEMPTS", partial(_whole, 1, 100), "5")
    retry_seconds: float = _setting("EXPORT_RETRY_SECONDS", partial(_decimal, 0.0, 60.0), "1")
    read_timeout_seconds: float = _setting("EXPORT_READ_TIMEOUT_SECONDS", partial(_decimal, 0.1, 3600.0), "600")

    @property
    def names(self) -> Names:
        """The names of all blobs."""
        return Names(self.prefix)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be seen: the keys, and the account key or signature inside a connection string."""
        opens = re.findall(r"(?i)(?:AccountKey=|SharedAccessSignature=|\?)([^;]+)", self.storage_connection)
        return tuple(secret for secret in (self.api_key, self.secret_key, *opens) if secret)


_SETTINGS = {one.metadata["name"]: one for one in fields(Settings) if one.metadata}
"""The fields by the names of their settings."""


def binding(environ: Mapping[str, str], name: str) -> str:
    """A setting that the host needs for a binding: its default if it is absent, or if the host could not use it."""
    return str(_read(environ, name, []))


def uses_entra(environ: Mapping[str, str]) -> bool:
    """Whether the routes rely on the platform's sign-in: `EXPORT_HTTP_AUTH` is `entra`, in any mix of cases."""
    return _read(environ, "EXPORT_HTTP_AUTH", []) == "entra"


def sign_in_problem(environ: Mapping[str, str]) -> str:
    """Why the routes must refuse everybody: EXPORT_HTTP_AUTH is wrong, or relies on a sign-in that is off; else empty.

    Only the routes stop: the timer and the queues go on.
    """
    problems: list[str] = []
    mode = _read(environ, "EXPORT_HTTP_AUTH", problems)
    if problems:
        return f"{problems[0]}. Until this is fixed, the routes refuse every request; the nightly export goes on"
    if mode == "function" or environ.get("WEBSITE_AUTH_ENABLED", "").strip().lower() in ("true", "1"):
        return ""
    return (
        "EXPORT_HTTP_AUTH is entra, but the platform's sign-in is off (WEBSITE_AUTH_ENABLED is not True), so anyone "
        "could claim to be signed in: turn on App Service authentication, or set EXPORT_HTTP_AUTH to function"
    )


def load_settings(environ: Mapping[str, str], which: str = "") -> Settings:
    """Read and check all settings whose names begin with `which`; the others are not read, and have their defaults.

    Raises SettingsError with one message that names each setting that is missing, malformed, contradictory or
    unresolved.
    """
    problems: list[str] = []
    values: dict[str, Any] = {
        one.name: _read(environ, name, problems) if name.startswith(which) else one.metadata["default"]
        for name, one in _SETTINGS.items()
    }
    host = "." + host_of(values["export_url"]).rstrip(".")
    if values["region"] == "eu" and host.endswith(".amplitude.com") and not host.endswith(".eu.amplitude.com"):
        problems.append("AMP_EXPORT_URL points to Amplitude's US servers while AMP_DATA_REGION is eu: change one")
    values["export_url"] = values["export_url"] or ENDPOINTS[values["region"]]
    both = ("EXPORT_STORAGE", "EXPORT_STORAGE__blobServiceUri")
    if len([name for name in both if environ.get(name, "").strip()]) != 1:
        problems.append(
            f"{', '.join(both)}: set exactly one of them, in Azure the second (the URL of the account), on a laptop "
            "the first (a connection string)"
        )
    if problems:
        raise SettingsError("App settings to fix: " + "; ".join(problems) + ".", problems)
    return Settings(in_azure="WEBSITE_INSTANCE_ID" in environ or "IDENTITY_ENDPOINT" in environ, **values)


def load_storage_settings(environ: Mapping[str, str]) -> Settings:
    """The settings of a command that only reads the container: it needs no keys. Raises as `load_settings`."""
    return load_settings(environ, "EXPORT_")


def unknown_settings(environ: Mapping[str, str]) -> list[str]:
    """A warning for each name that looks like a setting of this app but is not one: it may be misspelt."""
    warnings = []
    for name in sorted(environ.keys() - _SETTINGS):
        if name.startswith(("AMP_", "EXPORT_")):
            import difflib  # noqa: PLC0415 - slow to import, and hardly ever needed

            likely = difflib.get_close_matches(name, _SETTINGS, n=1)
            hint = f" Did you mean {likely[0]}?" if likely else ""
            warnings.append(f"{name} is not a setting of this app and has no effect.{hint}")
    return warnings


def _read(environ: Mapping[str, str], name: str, problems: list[str]) -> object:
    """Read one setting. If it is wrong, this adds the problem to `problems` and returns the default."""
    read, default = _SETTINGS[name].metadata["read"], _SETTINGS[name].metadata["default"]
    value = environ.get(name, "")
    if name != "EXPORT_PREFIX":  # taken literally, spaces included
        value = value.strip()
    if value.startswith("@Microsoft.KeyVault("):
        problems.append(
            f"{name} is a Key Vault reference that did not resolve: check that the secret exists in the vault, and "
            "that the app's identity may read it (role Key Vault Secrets User)"
        )
        return default
    try:
        return read(value or default)
    except _Expected as expected:
        problems.append(f"{name} must be {expected}{_shown(environ, value)}")
    except ValueError as wrong:
        problems.append(f"{name} {wrong}")
    return default


def _shown(environ: Mapping[str, str], value: str) -> str:
    """A wrong value, for a message. Empty if it could be a key that was pasted into the wrong setting."""
    secrets = [environ.get(name, "").strip() for name in ("AMP_API_KEY", "AMP_SECRET_KEY", "EXPORT_STORAGE")]
    secret = _LIKE_A_KEY.search(value) or value in secrets or Redaction(secrets).finds(value)
    return "" if secret else f", not {value[:40]!r}"
