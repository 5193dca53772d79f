"""Merchants over HTTP: enrol one under an agreement, its shops, and what it took today."""

from collections.abc import Awaitable, Callable
from uuid import UUID

from litestar import Response, Router
from litestar.params import FromPath, JSONBody

from timebank.api.accounts import Cursor, Limit
from timebank.api.call import Call, IdempotencyKey
from timebank.api.cursors import make_cursor, read_cursor
from timebank.api.once import Deed, once
from timebank.api.operations import get, post
from timebank.api.wire import as_utc
from timebank.api.wire_redemption import (
    AgreementBody,
    AgreementList,
    AgreementView,
    EmptyBody,
    EndAgreementBody,
    EnrolMerchantBody,
    MerchantPage,
    MerchantView,
    OpenShopBody,
    ShopList,
    ShopView,
    TakingsView,
)
from timebank.db import Connection, transaction
from timebank.domain.errors import InvalidInputError, NotFoundError
from timebank.domain.redemption import Agreement, Merchant
from timebank.ledger.ids import new_id
from timebank.people.access import Action, Role
from timebank.people.parties import PartyKind, is_party, place_party
from timebank.people.targets import check_reaches_party
from timebank.redemption import merchants


async def check_reaches_merchant(
    connection: Connection, request: Call, action: Action, merchant_id: UUID
) -> Merchant:
    """Return the merchant if the caller may do this to it; NotFoundError as if absent."""
    merchant = await merchants.get_merchant(connection, request.user.bank_id, merchant_id)
    await check_reaches_party(connection, request.user, action, merchant_id, merchant_id)
    return merchant


@post("/merchants", opt={"action": Action.ENROL_MERCHANT}, operation_id="enrol_merchant")
async def enrol_merchant(
    request: Call, data: JSONBody[EnrolMerchantBody], idempotency_key: IdempotencyKey
) -> Response[MerchantView]:
    """Enrol a merchant under an agreement; who acts for it is said by role grants."""
    principal = request.user
    bank = await request.desk.bank(principal.bank_id)
    place = data.branch_id or principal.branch_id or bank.root_id

    async def work(connection: Connection) -> Deed[MerchantView]:
        await check_reaches_branch(connection, request, Action.ENROL_MERCHANT, place)
        merchant_id = new_id()
        await merchants.enrol_merchant(connection, bank.bank_id, merchant_id, data.name)
        if place != bank.root_id:
            await place_party(connection, bank.bank_id, merchant_id, place)
        await _record(connection, request, merchant_id, data.agreement, "/agreement")
        merchant = await merchants.get_merchant(connection, bank.bank_id, merchant_id)
        return Deed(_view(merchant), merchant_id)

    view, headers = await once(request, MerchantView, work)
    return Response(view, status_code=201, headers=headers)


async def check_reaches_branch(
    connection: Connection, request: Call, action: Action, branch_id: UUID
) -> None:
    """Raise NotFoundError unless there is such a branch and the caller reaches it."""
    if not await is_party(connection, request.user.bank_id, branch_id, PartyKind.BRANCH):
        raise NotFoundError
    await check_reaches_party(connection, request.user, action, branch_id)


async def _record(
    connection: Connection, request: Call, merchant_id: UUID, body: AgreementBody, pointer: str
) -> None:
    valid_from = as_utc(body.valid_from, f"{pointer}/valid_from")
    valid_until = as_utc(body.valid_until, f"{pointer}/valid_until")
    if valid_until and valid_until <= valid_from:
        raise InvalidInputError("It ends before it begins.", pointer=f"{pointer}/valid_until")
    await merchants.record_agreement(
        connection,
        request.user.bank_id,
        merchant_id,
        body.reference,
        valid_from=valid_from,
        valid_until=valid_until,
        recorded_by=request.user.principal_id,
    )


@get("/merchants", opt={"action": Action.READ_CATALOGUE}, operation_id="list_merchants")
async def list_merchants(request: Call, cursor: Cursor = None, limit: Limit = 50) -> MerchantPage:
    """List merchants, active or not."""
    bank = await request.desk.bank(request.user.bank_id)
    after = UUID(read_cursor(bank.cursor_key, "merchants", cursor)) if cursor else UUID(int=0)
    async with transaction(request.desk.pool) as connection:
        found = await merchants.list_merchants(
            connection, bank.bank_id, after=after, limit=limit + 1
        )
    page, more = found[:limit], len(found) > limit
    last = str(page[-1].merchant_id) if more else ""
    next_cursor = make_cursor(bank.cursor_key, "merchants", last) if more else None
    return MerchantPage([_view(merchant) for merchant in page], next_cursor, more)


@get(
    "/merchants/{merchant_id:uuid}",
    opt={"action": Action.READ_CATALOGUE},
    operation_id="get_merchant",
)
async def read_merchant(request: Call, merchant_id: FromPath[UUID]) -> MerchantView:
    """Return a merchant."""
    async with transaction(request.desk.pool) as connection:
        merchant = await merchants.get_merchant(connection, request.user.bank_id, merchant_id)
    return _view(merchant)


# ---- Agreements --------------------------------------------------------------------------------


@get(
    "/merchants/{merchant_id:uuid}/agreements",
    opt={"action": Action.READ_AGREEMENTS},
    operation_id="list_agreements",
)
async def list_agreements(request: Call, merchant_id: FromPath[UUID]) -> AgreementList:
    """List all agreements of a merchant."""
    async with transaction(request.desk.pool) as connection:
        await check_reaches_merchant(connection, request, Action.READ_AGREEMENTS, merchant_id)
        found = await merchants.list_agreements(connection, request.user.bank_id, merchant_id)
    return AgreementList([_agreement_view(agreement) for agreement in found])


@post(
    "/merchants/{merchant_id:uuid}/agreements",
    opt={"action": Action.ENROL_MERCHANT},
    operation_id="record_agreement",
)
async def record_agreement(
    request: Call,
    merchant_id: FromPath[UUID],
    data: JSONBody[AgreementBody],
    idempotency_key: IdempotencyKey,
) -> Response[AgreementView]:
    """Put an agreement on record: from its beginning on the merchant takes points."""

    async def act(connection: Connection) -> None:
        await _record(connection, request, merchant_id, data, "")

    return await _change_agreement(request, merchant_id, data.reference, act)


@post(
    "/merchants/{merchant_id:uuid}/agreements/end",
    opt={"action": Action.ENROL_MERCHANT},
    operation_id="end_agreement",
)
async def end_agreement(
    request: Call,
    merchant_id: FromPath[UUID],
    data: JSONBody[EndAgreementBody],
    idempotency_key: IdempotencyKey,
) -> Response[AgreementView]:
    """End an agreement now: no new holds; those that are open may still be captured."""

    async def act(connection: Connection) -> None:
        bank_id = request.user.bank_id
        await merchants.end_agreement(connection, bank_id, merchant_id, data.reference)

    return await _change_agreement(request, merchant_id, data.reference, act)


async def _change_agreement(
    request: Call,
    merchant_id: UUID,
    reference: str,
    act: Callable[[Connection], Awaitable[None]],
) -> Response[AgreementView]:
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[AgreementView]:
        await check_reaches_merchant(connection, request, Action.ENROL_MERCHANT, merchant_id)
        await act(connection)
        found = await merchants.list_agreements(connection, bank_id, merchant_id)
        [changed] = [agreement for agreement in found if agreement.reference == reference]
        return Deed(_agreement_view(changed), merchant_id)

    view, headers = await once(request, AgreementView, work)
    return Response(view, status_code=201, headers=headers)


# ---- Shops -------------------------------------------------------------------------------------


@get(
    "/merchants/{merchant_id:uuid}/shops",
    opt={"action": Action.READ_CATALOGUE},
    operation_id="list_shops",
)
async def list_shops(request: Call, merchant_id: FromPath[UUID]) -> ShopList:
    """List all shops of a merchant, closed ones too."""
    bank_id = request.user.bank_id
    async with transaction(request.desk.pool) as connection:
        await merchants.get_merchant(connection, bank_id, merchant_id)
        found = await merchants.list_shops(connection, bank_id, merchant_id)
    views = [
        ShopView(
            shop_id=shop.shop_id,
            merchant_id=shop.merchant_id,
            name=shop.name,
            branch_id=shop.branch_id,
            closed_at=shop.closed_at,
        )
        for shop in found
    ]
    return ShopList(views)


@post(
    "/merchants/{merchant_id:uuid}/shops",
    opt={"action": Action.MANAGE_SHOPS},
    operation_id="open_shop",
)
async def open_shop(
    request: Call,
    merchant_id: FromPath[UUID],
    data: JSONBody[OpenShopBody],
    idempotency_key: IdempotencyKey,
) -> Response[ShopView]:
    """Open a shop; a stand at a service point is opened by who reaches that branch."""
    bank_id = request.user.bank_id

    async def work(connection: Connection) -> Deed[ShopView]:
        await check_reaches_merchant(connection, request, Action.MANAGE_SHOPS, merchant_id)
        if data.branch_id is not None:
            if request.user.role is Role.MERCHANT:
                raise NotFoundError
            await check_reaches_branch(connection, request, Action.MANAGE_SHOPS, data.branch_id)
        shop_id = await merchants.open_shop(
            connection, bank_id, merchant_id, data.name, branch_id=data.branch_id
        )
        view = ShopView(
            shop_id=shop_id,
            merchant_id=merchant_id,
            name=data.name,
            branch_id=data.branch_id,
            closed_at=None,
        )
        return Deed(view, shop_id)

    view, headers = await once(request, ShopView, work)
    return Response(view, status_code=201, headers=headers)


@post(
    "/merchants/{merchant_id:uuid}/shops/{shop_id:uuid}/closure",
    opt={"action": Action.MANAGE_SHOPS},
    operation_id="close_shop",
)
async def close_shop(
    request: Call,
    merchant_id: FromPath[UUID],
    shop_id: FromPath[UUID],
    data: JSONBody[EmptyBody],
    idempotency_key: IdempotencyKey,
) -> Response[EmptyBody]:
    """Close a shop: nothing more is picked up there."""

    async def work(connection: Connection) -> Deed[EmptyBody]:
        await check_reaches_merchant(connection, request, Action.MANAGE_SHOPS, merchant_id)
        await merchants.close_shop(connection, request.user.bank_id, merchant_id, shop_id)
        return Deed(EmptyBody(), shop_id)

    view, headers = await once(request, EmptyBody, work)
    return Response(view, status_code=201, headers=headers)


@get(
    "/merchants/{merchant_id:uuid}/takings",
    opt={"action": Action.READ_TAKINGS},
    operation_id="get_takings",
)
async def read_takings(request: Call, merchant_id: FromPath[UUID]) -> TakingsView:
    """Return what was taken and given back today; a clerk sees what they did themselves."""
    principal = request.user
    own = principal.principal_id if principal.role is Role.CLERK else None
    async with transaction(request.desk.pool) as connection:
        await check_reaches_merchant(connection, request, Action.READ_TAKINGS, merchant_id)
        taken = await merchants.get_takings(connection, principal.bank_id, merchant_id, own)
    return TakingsView(
        taken_on=taken.taken_on,
        captures=taken.captures,
        points_captured=taken.points_captured,
        refunds=taken.refunds,
        points_refunded=taken.points_refunded,
    )


def _view(merchant: Merchant) -> MerchantView:
    return MerchantView(
        merchant_id=merchant.merchant_id,
        name=merchant.name,
        is_active=merchant.agreed_until is not None,
    )


def _agreement_view(agreement: Agreement) -> AgreementView:
    return AgreementView(
        merchant_id=agreement.merchant_id,
        reference=agreement.reference,
        valid_from=agreement.valid_from,
        valid_until=agreement.valid_until,
        recorded_at=agreement.recorded_at,
        ended_at=agreement.ended_at,
    )


router = Router(
    "/",
    route_handlers=[
        enrol_merchant,
        list_merchants,
        read_merchant,
        list_agreements,
        record_agreement,
        end_agreement,
        list_shops,
        open_shop,
        close_shop,
        read_takings,
    ],
)
