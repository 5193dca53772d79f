"""The service put together: database, desk, gate, operations, description."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.config.app import AppConfig
from litestar.handlers import HTTPRouteHandler

from timebank.api import (
    accounts,
    activities,
    api_keys,
    applications,
    approvals,
    attendance,
    branches,
    cards,
    certificates,
    credentials,
    families,
    gifts,
    health,
    holds,
    honours,
    invitations,
    kin,
    logins,
    merchant_lines,
    merchants,
    offers,
    oversight,
    persons,
    rates,
    records,
    redemption_oversight,
    residents,
    service_oversight,
    settlements,
    sheets,
    slips,
    statements,
    summaries,
    tills,
    transfers,
    webhooks,
    wishes,
)
from timebank.api.caching import forbid_storing
from timebank.api.call import Call
from timebank.api.desk import Desk
from timebank.api.gate import Gate
from timebank.api.openapi import openapi_config, send_asset
from timebank.api.problem_pages import explain_problem
from timebank.api.refusals import answer_error
from timebank.api.request_ids import answer_with_request_id
from timebank.api.strict_json import LARGEST_BODY
from timebank.config import Settings, read_settings
from timebank.database import open_database
from timebank.jobs import running_deliveries, running_jobs
from timebank.logs import set_up_logs
from timebank.people.access import Action
from timebank.web import site
from timebank.web.pages import show_refusal, wants_page
from timebank.webhooks.sending import Resolve, resolve_name


class UndeclaredActionError(Exception):
    """An operation does not say who may call it. Give it `opt={"action": Action.…}`."""


@asynccontextmanager
async def _with_desk(app: Litestar, settings: Settings, resolve: Resolve) -> AsyncIterator[None]:
    async with open_database(settings) as pool:
        app.state.desk = desk = Desk(pool, settings, resolve)
        try:
            async with (
                running_jobs(pool, lambda: desk.ring, settings.job_seconds),
                running_deliveries(pool, lambda: desk.ring, settings.webhook_seconds),
            ):
                yield
        finally:
            desk.close()


def create_app(settings: Settings | None = None, resolve: Resolve = resolve_name) -> Litestar:
    """Return the ASGI application; UndeclaredActionError if an operation declares no action.

    `resolve` finds the addresses of the names that merchants want to be told at.
    """
    settings = settings or read_settings(os.environ)
    set_up_logs(settings.log_level)
    app = Litestar(
        [Router("/api/v1", route_handlers=_routers()), explain_problem, send_asset, site.router],
        lifespan=[partial(_with_desk, settings=settings, resolve=resolve)],
        middleware=[Gate],
        request_class=Call,
        exception_handlers={Exception: _refuse},
        openapi_config=openapi_config(),
        request_max_body_size=LARGEST_BODY,
        before_send=[answer_with_request_id, forbid_storing],
        on_app_init=[_without_litestar_logging],
    )
    refuse_undeclared(app)
    declare_queries(app)
    return app


def _routers() -> list[Router]:
    """Return the operations of each subject, in the order of the description."""
    return [
        accounts.router,
        transfers.router,
        logins.router,
        credentials.router,
        invitations.router,
        api_keys.router,
        approvals.router,
        oversight.router,
        merchants.router,
        merchant_lines.router,
        offers.router,
        holds.router,
        tills.router,
        slips.router,
        settlements.router,
        statements.router,
        gifts.router,
        families.router,
        redemption_oversight.router,
        webhooks.router,
        residents.router,
        persons.router,
        applications.router,
        kin.router,
        cards.router,
        sheets.router,
        branches.router,
        activities.router,
        attendance.router,
        records.router,
        summaries.router,
        rates.router,
        honours.router,
        service_oversight.router,
        wishes.router,
        certificates.router,
        health.router,
    ]


def _refuse(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Answer programs with a problem, and whoever looks for a page with one."""
    return show_refusal(request, error) if wants_page(request) else answer_error(request, error)


def _without_litestar_logging(config: AppConfig) -> AppConfig:
    config.logging_config = None  # structlog is set up once, in timebank.logs
    return config


def operations(app: Litestar) -> Iterator[tuple[str, HTTPRouteHandler]]:
    """Yield path and handler of every operation but the automatic OPTIONS."""
    for route in app.routes:
        # An HTTP route has several handlers, a static one has one.
        handlers: list[Any] = getattr(
            route, "route_handlers", [getattr(route, "route_handler", None)]
        )
        for handler in handlers:
            if getattr(handler, "http_methods", None) != {"OPTIONS"}:
                yield route.path, handler


def refuse_undeclared(app: Litestar) -> None:
    """Raise UndeclaredActionError unless every operation declares a known action."""
    for path, handler in operations(app):
        try:
            Action(handler.opt["action"])
        except (KeyError, ValueError) as error:
            raise UndeclaredActionError(f"{path}: {handler}") from error


def declare_queries(app: Litestar) -> None:
    """Tell the gate what query parameters each operation of the API has: it refuses all others."""
    for route in app.routes:
        if route.path.startswith("/api/"):
            for handler, model in getattr(route, "route_handler_map", {}).values():
                handler.opt["query"] = frozenset(
                    parameter.field_alias for parameter in model.expected_query_params
                )
