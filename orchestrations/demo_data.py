"""The demo's customers: 2,500 invented people, the same ones on every machine.

    python -m orchestrations.demo_data > orchestrations/catalog/data/customers.csv

Most rows are fine. A few are not, as in every real list: rows that Deskfeed refuses (no name,
nothing to recognise the person by, an e-mail address with a slip), rows that only Zendesk refuses
(an address with a character that it does not take), and people who stand in it twice. The names
below say which rows.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable
from datetime import date, timedelta
from random import Random

ROWS = 2_500
SEED = 20261124

COLUMNS = (
    "customer_id",
    "name",
    "email",
    "phone",
    "city",
    "loyalty_tier",
    "loyalty_points",
    "orders_count",
    "last_order_on",
    "lifetime_value",
    "favorite_category",
    "survey_score",
    "preferences",
    "churn_risk",
)

NO_NAME = (61, 388, 1204, 1733, 2290)
BLANK_NAME = (512, 2044)
NO_IDENTIFIER = (144, 903, 1650, 2411)
BAD_EMAIL = {
    207: "{user}.example.com",
    655: "{user}@",
    1010: "{user} @example.com",
    1377: "{user}@@example.com",
    1901: "@example.com",
    2188: "{user}@example.com, {user}@example.org",
}
ODD_EMAIL = (333, 1111, 2022)
REPEATS_ID = {800: 100, 1400: 250, 1999: 1201, 2300: 2299}
"""Row -> an earlier row of the same customer: a new e-mail, and the id in small letters."""
REPEATS_EMAIL = {950: 430, 1600: 1599, 2100: 700, 2450: 1888}
"""Row -> an earlier row with another id and the same e-mail, in capitals: whose is it?"""

_FIRST = (
    "Ada,Amir,Anita,Bea,Bruno,Carmen,Chidi,Dario,Elif,Emil,Fatima,Felix,Grace,Hana,Hugo,Ines,"
    "Ivan,Jade,Jonas,Kai,Lena,Lucía,Maja,Marco,Mina,Noor,Olga,Omar,Paula,Quentin,Rosa,Samir,"
    "Sofía,Tariq,Uma,Viktor,Wanda,Xenia,Yusuf,Zoë"
)
_LAST = (
    "Abara,Bergström,Castillo,Dvořák,Eriksen,Fontaine,Garcia,Haddad,Ito,Jansen,Kovacs,Lindqvist,"
    "Moreau,Novak,O'Brien,Petrov,Quispe,Rossi,Silva,Tanaka,Ueda,Vargas,Weber,Xu,Yilmaz,Zimmer"
)
_ASCII = str.maketrans("éíöřáëü'", "eioraeu-")
_CITIES = "Austin,Boise,Chicago,Denver,El Paso,Fresno,Portland,Raleigh,Seattle,Tucson"
_AREA_CODES = {"Austin": 512, "Chicago": 312, "Denver": 303, "Portland": 503, "Seattle": 206}
_CATEGORIES = "ankle socks,compression,hiking,kids,knee-highs,merino,running,slippers"
_CHANNELS = ("email", "sms", "push", "post")
_TIERS = (("bronze", 0), ("silver", 1_000), ("gold", 4_000), ("platinum", 9_000))
_TODAY = date(2026, 11, 24)


def customers() -> list[dict[str, str]]:
    """Return the rows, first to last; every value is text, and empty text is a missing value."""
    # Only random() is used: it alone is promised to give the same numbers in every Python.
    draw = Random(SEED).random  # noqa: S311 - invented people, no secrets
    rows = [_customer(number, draw) for number in range(1, ROWS + 1)]
    _spoil(rows)
    _repeat(rows)
    return rows


def demo_csv() -> str:
    """Return the CSV file, with a header; lines end in LF."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(customers())
    return text.getvalue()


def _customer(number: int, draw: Callable[[], float]) -> dict[str, str]:
    first, last, city = _pick(_FIRST, draw), _pick(_LAST, draw), _pick(_CITIES, draw)
    user = f"{first}.{last}".translate(_ASCII).lower()
    orders = 1 + int(draw() ** 3 * 60)
    value_cents = orders * (900 + int(draw() * 4_000))
    points = value_cents // 25
    channels = [channel for channel in _CHANNELS if draw() < 0.45]
    return {
        "customer_id": f"SOCK-{number:05d}",
        "name": f"{first} {last}",
        "email": f"{user}.{number}@example.com",
        "phone": f"+1{_AREA_CODES.get(city, 208)}55501{int(draw() * 100):02d}",
        "city": city,
        "loyalty_tier": [tier for tier, least in _TIERS if points >= least][-1],
        "loyalty_points": str(points),
        "orders_count": str(orders),
        "last_order_on": (_TODAY - timedelta(days=int(draw() ** 2 * 900))).isoformat(),
        "lifetime_value": f"{value_cents // 100}.{value_cents % 100:02d}",
        "favorite_category": _pick(_CATEGORIES, draw),
        "survey_score": str(int(draw() * 11)) if draw() < 0.4 else "",
        "preferences": "|".join(channels),
        "churn_risk": f"0.{int(draw() * 1_000):03d}",
    }


def _pick(words: str, draw: Callable[[], float]) -> str:
    choices = words.split(",")
    return choices[int(draw() * len(choices))]


def _spoil(rows: list[dict[str, str]]) -> None:
    """Put in what is wrong with the list; rows are numbered from 1 as in a run's report."""
    for number in NO_NAME:
        rows[number - 1]["name"] = ""
    for number in BLANK_NAME:
        rows[number - 1]["name"] = "   "
    for number in NO_IDENTIFIER:
        rows[number - 1].update(customer_id="", email="")
    for number, slip in BAD_EMAIL.items():
        user = rows[number - 1]["email"].partition("@")[0]
        rows[number - 1]["email"] = slip.format(user=user)
    for number in ODD_EMAIL:
        rows[number - 1]["email"] = rows[number - 1]["email"].replace("@", ";@")


def _repeat(rows: list[dict[str, str]]) -> None:
    """Let some people stand in the list twice."""
    for number, earlier in {**REPEATS_ID, **REPEATS_EMAIL}.items():
        same_person = {key: rows[earlier - 1][key] for key in ("name", "phone", "city")}
        rows[number - 1].update(same_person)
    for number, earlier in REPEATS_ID.items():
        rows[number - 1]["customer_id"] = rows[earlier - 1]["customer_id"].lower()
    for number, earlier in REPEATS_EMAIL.items():
        rows[number - 1]["email"] = rows[earlier - 1]["email"].upper()


if __name__ == "__main__":
    sys.stdout.buffer.write(demo_csv().encode())
