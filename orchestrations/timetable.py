"""The key `schedule` of an orchestration: `Schedule`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AfterValidator

from orchestrations.model import CatalogModel, refusal
from orchestrations.schedule import NotASchedule, check_cron, check_zone


def _checked(check: Callable[[str], None]) -> Callable[[str], str]:
    def validate(value: str) -> str:
        try:
            check(value)
        except NotASchedule as error:
            raise refusal(str(error)) from None
        return " ".join(value.split())

    return validate


class Schedule(CatalogModel):
    """When runs start by themselves.

    Attributes:
        cron: five fields, on the wall clock of the time zone.
        timezone: its name in the IANA database.
        catch_up: what becomes of minutes that nobody was there for: `none` are made up for, or the
            `last` one is.
    """

    cron: Annotated[str, AfterValidator(_checked(check_cron))]
    timezone: Annotated[str, AfterValidator(_checked(check_zone))] = "UTC"
    catch_up: Literal["none", "last"] = "none"
