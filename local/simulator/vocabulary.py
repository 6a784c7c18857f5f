"""The content of simulated events: places, devices, pages and actions. All hosts and people are invented."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["browser", "mobile", "server"]

PEOPLE = 4000
"""How many people a project has."""

DEVICE_FIELDS = (
    "adid",
    "city",
    "country",
    "device_brand",
    "device_carrier",
    "device_family",
    "device_id",
    "device_manufacturer",
    "device_model",
    "device_type",
    "dma",
    "idfa",
    "location_lat",
    "location_lng",
    "os_name",
    "os_version",
    "region",
    "start_version",
    "version_name",
)
"""Null for a server-side event."""


def _place(country: str, region: str, city: str, language: str) -> dict[str, Any]:
    return {"country": country, "region": region, "city": city, "language": language}


PLACES = (
    _place("Germany", "Bavaria", "Munich", "German"),
    _place("Germany", "North Rhine-Westphalia", "Köln", "German"),
    _place("Germany", "Land Berlin", "Berlin", "German"),
    _place("Austria", "Vienna", "Vienna", "German"),
    _place("Switzerland", "Zürich", "Zürich", "German"),
    _place("United Kingdom", "England", "London", "English"),
    _place("France", "Île-de-France", "Paris", "French"),
    _place("Poland", "Łódź Voivodeship", "Łódź", "Polish"),
    _place("United States", "California", "San José", "English")
    | {"dma": "San Francisco-Oakland-San Jose, CA", "location_lat": 37.0, "location_lng": -121.9},
)


def _browser(name: str, version: str, system: str, device_type: str | None) -> dict[str, Any]:
    return {
        "device_family": system,
        "device_model": system,
        "device_type": device_type,
        "library": "amplitude-ts/2.11.1",
        "os_name": name,
        "os_version": version,
        "platform": "Web",
    }


BROWSERS = (
    _browser("Chrome", "142.0.0.0", "Windows", None),
    _browser("Chrome", "141.0.0.0", "Mac OS X", "Apple Macintosh"),
    _browser("Firefox", "144.0", "Linux", None),
    _browser("Safari", "18.6", "Mac OS X", "Apple Macintosh"),
    _browser("Mobile Safari", "18.6", "iOS", "Apple iPhone"),
    _browser("Edge", "142.0.0.0", "Windows", None),
)


def _phone(brand: str, model: str, system: str, library: str) -> dict[str, Any]:
    os_name, os_version = system.split()
    return {
        "device_brand": brand,
        "device_carrier": "Телеком",
        "device_family": f"{brand} {model}",
        "device_manufacturer": brand,
        "device_model": model,
        "device_type": f"{brand} {model}",
        "library": library,
        "os_name": os_name,
        "os_version": os_version,
        "platform": os_name,
        "start_version": "3.8.0",
        "version_name": "4.1.2",
    }


PHONES = (
    _phone("Apple", "iPhone 15", "iOS 18.6", "amplitude-flutter/4.0.1_amplitude-swift/1.9.2"),
    _phone("Apple", "iPhone SE", "iOS 17.7", "amplitude-flutter/4.0.1_amplitude-swift/1.9.2"),
    _phone("Samsung", "Galaxy S24", "Android 15", "amplitude-flutter/4.0.1_amplitude-analytics-android/1.17.3"),
    _phone("Google", "Pixel 9", "Android 16", "amplitude-flutter/4.0.1_amplitude-analytics-android/1.17.3"),
)

INITIAL_PROPERTIES = {
    f"initial_{name}": "EMPTY"
    for name in (
        "dclid",
        "fbclid",
        "gclid",
        "li_fat_id",
        "msclkid",
        "referrer",
        "referring_domain",
        "ttclid",
        "utm_campaign",
        "utm_content",
        "utm_id",
        "utm_medium",
        "utm_source",
        "utm_term",
        "wbraid",
    )
}
"""First-touch properties that the browser library sets on each user, `EMPTY` for none."""


@dataclass(frozen=True, slots=True)
class Action:
    """An event's type and properties, as JSON; `"@counter"` stands for the number of the event in its session."""

    event_type: bytes
    amplitude_type: bytes
    properties: bytes


def _action(event_type: str, properties: dict[str, Any], amplitude_type: str | None = None) -> Action:
    compact = json.dumps(properties, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return Action(
        json.dumps(event_type, ensure_ascii=False).encode(), json.dumps(amplitude_type).encode(), compact.encode()
    )


_SITE = "shop.example"
_PAGES = (
    ("/", "Startseite"),
    ("/größen", "Größen & Maße: Übersicht"),
    ("/menu/café", "Café\u2028Menü"),
    ("/search", 'Suche: "100 % Wolle"'),
    ("/produkte/1047", "Wollmütze, grün"),
    ("/warenkorb", "Warenkorb"),
    ("/kasse", "Kasse"),
    ("/hilfe/versand", "Versand und Rückgabe"),
)


def _page(path: str, title: str) -> dict[str, Any]:
    return {
        "[Amplitude] Page Counter": "@counter",
        "[Amplitude] Page Domain": _SITE,
        "[Amplitude] Page Location": f"https://{_SITE}{path}",
        "[Amplitude] Page Path": path,
        "[Amplitude] Page Title": title,
        "[Amplitude] Page URL": f"https://{_SITE}{path}",
        "referrer": f"https://{_SITE}/",
        "referring_domain": _SITE,
    }


_ITEMS = {"items": [{"sku": "W-1047", "price": 6396.0, "tags": ["grün", "neu"]}, {"sku": "W-3", "price": 0.0}]}
_SESSION_START = _action("session_start", {}, "session_start")
_SESSION_END = _action("session_end", {}, "session_end")
_VIEWS = [_action("[Amplitude] Page Viewed", _page(*page)) for page in _PAGES]
_CLICKS = [
    _action(
        "[Amplitude] Element Clicked",
        _page(*page) | {"[Amplitude] Element Tag": "button", "[Amplitude] Element Text": text},
    )
    for page, text in zip(_PAGES, ("Nächste Größe", "Größe wählen", "Reservieren", "Suchen") * 2, strict=True)
]
_SCREENS = [
    _action("[Amplitude] Screen Viewed", {"[Amplitude] Screen Name": name})
    for name in ("Start", "Suche", "Wollmütze", "Warenkorb", "Profil")
]

ACTIONS: dict[Kind, tuple[list[Action], list[Action], list[Action]]] = {
    "browser": (
        [_SESSION_START, _VIEWS[0]],
        [*_VIEWS, *_VIEWS, *_CLICKS, _action("Product Added", {"price": 6396.0, "currency": "EUR", "size (cm)": 57})],
        [_SESSION_END],
    ),
    "mobile": (
        [_SESSION_START],
        [*_SCREENS, _action("Order Completed", {"revenue": 6396.0, "order": _ITEMS | {"coupon": None}})],
        [_SESSION_END],
    ),
    "server": ([], [_action("Invoice Sent", {"amount": 6396.0, "lines": _ITEMS}), _action("Plan Renewed", {})], []),
}
"""For each kind: the actions that open a session, can happen in it, and close it."""
