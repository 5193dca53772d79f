"""RFC 9457 problems: every code with its HTTP status and its title in three languages."""

from collections.abc import Mapping
from urllib.parse import quote

from msgspec import UNSET, Struct, UnsetType

from timebank.domain.languages import preferred_language

PROBLEM_JSON = "application/problem+json"


class ProblemKind(Struct, frozen=True):
    """What a code means: HTTP status and titles in 简体中文, 繁體中文 and English."""

    status: int
    zh_hans: str
    zh_hant: str
    en: str


PROBLEM_KINDS: Mapping[str, ProblemKind] = {
    "malformed_json": ProblemKind(
        400, "请求正文不是合规的 JSON", "請求正文不是合規的 JSON", "The body is not acceptable JSON"
    ),
    "invalid_input": ProblemKind(400, "请求内容有误", "請求內容有誤", "The request is not valid"),
    "invalid_cursor": ProblemKind(400, "翻页标记无效", "翻頁標記無效", "The cursor is not valid"),
    "idempotency_key_missing": ProblemKind(
        400, "缺少 Idempotency-Key", "缺少 Idempotency-Key", "The Idempotency-Key is missing"
    ),
    "unauthenticated": ProblemKind(401, "请先登录", "請先登入", "Authentication is needed"),
    "login_failed": ProblemKind(401, "登录信息不符", "登入資訊不符", "The login did not succeed"),
    "forbidden": ProblemKind(403, "无权进行此操作", "無權進行此操作", "Your role may not do this"),
    "stronger_login_needed": ProblemKind(
        403, "请用一次性验证码登录", "請用一次性驗證碼登入", "A stronger login is needed"
    ),
    "second_person_needed": ProblemKind(
        403, "须由另一人批准", "須由另一人批准", "A second person must decide this"
    ),
    "approval_decided": ProblemKind(409, "已有决定", "已有決定", "It was decided already"),
    "approval_lapsed": ProblemKind(409, "提议已过期", "提議已過期", "The proposal has lapsed"),
    "approval_content_differs": ProblemKind(
        409, "内容与所见不符", "內容與所見不符", "The content is not what was seen"
    ),
    "cross_site_request": ProblemKind(
        403, "请从本站页面操作", "請從本站頁面操作", "The request came from another site"
    ),
    "not_found": ProblemKind(404, "未找到", "未找到", "Not found"),
    "method_not_allowed": ProblemKind(
        405, "不支持此方法", "不支援此方法", "This method is not supported here"
    ),
    "branch_closed": ProblemKind(409, "该机构已关闭", "該機構已關閉", "The branch is closed"),
    "branch_code_taken": ProblemKind(
        409, "机构编号已被占用", "機構編號已被占用", "The branch code is taken"
    ),
    "branch_not_empty": ProblemKind(
        409, "机构下仍有挂靠", "機構下仍有掛靠", "Something still hangs on the branch"
    ),
    "already_there": ProblemKind(409, "已挂靠在该机构", "已掛靠在該機構", "It hangs there already"),
    "service_point_exists": ProblemKind(
        409, "服务点已存在", "服務點已存在", "The service point exists already"
    ),
    "account_exists": ProblemKind(409, "账户已存在", "帳戶已存在", "The account exists already"),
    "idempotency_key_in_use": ProblemKind(
        409, "同一请求正在处理", "同一請求正在處理", "A request with this key is in progress"
    ),
    "id_conflict": ProblemKind(409, "编号已被占用", "編號已被占用", "The id is taken"),
    "insufficient_balance": ProblemKind(409, "余额不足", "餘額不足", "The balance is insufficient"),
    "ceiling_exceeded": ProblemKind(409, "超出账户上限", "超出帳戶上限", "The ceiling is exceeded"),
    "already_reversed": ProblemKind(409, "此笔已冲正", "此筆已沖正", "It is reversed already"),
    "original_is_reversal": ProblemKind(
        409, "冲正不能再冲正", "沖正不能再沖正", "A reversal cannot be reversed"
    ),
    "original_not_reversible": ProblemKind(
        409, "兑换请用退货，不能冲正", "兌換請用退貨，不能沖正", "Refund it; it is not reversed"
    ),
    "original_not_found": ProblemKind(
        409, "原交易未入账", "原交易未入帳", "The original was never posted"
    ),
    "original_differs": ProblemKind(
        409, "与原交易不符", "與原交易不符", "It does not mirror the original"
    ),
    "chain_broken": ProblemKind(
        409, "同组交易被拒", "同組交易被拒", "Another transfer of the chain was refused"
    ),
    "settlement_not_found": ProblemKind(
        404, "没有此结算单", "沒有此結算單", "There is no such settlement"
    ),
    "statement_too_long": ProblemKind(
        409, "明细过长", "明細過長", "Too many lines for this file; take the CSV"
    ),
    "settlement_open": ProblemKind(
        409, "上期结算未结清", "上期結算未結清", "The settlement before is still open"
    ),
    "settlement_closed": ProblemKind(
        409, "结算单已结清", "結算單已結清", "The settlement is closed for good"
    ),
    "settlement_not_approved": ProblemKind(
        409, "结算单未经两人复核", "結算單未經兩人覆核", "Two persons have not approved it yet"
    ),
    "settlement_differs": ProblemKind(
        409, "结算单与所见不符", "結算單與所見不符", "The settlement is not what was seen"
    ),
    "settlement_empty": ProblemKind(
        409, "没有可结算的记录", "沒有可結算的記錄", "There is nothing to settle"
    ),
    "cut_off_in_future": ProblemKind(
        409, "截止时间未到", "截止時間未到", "The cut-off has not passed"
    ),
    "hold_not_found": ProblemKind(404, "没有此预留", "沒有此預留", "There is no such hold"),
    "hold_already_captured": ProblemKind(
        409, "此预留已兑换", "此預留已兌換", "The hold is captured already"
    ),
    "hold_released": ProblemKind(409, "此预留已取消", "此預留已取消", "The hold was released"),
    "hold_expired": ProblemKind(409, "此预留已过期", "此預留已過期", "The hold has expired"),
    "hold_not_captured": ProblemKind(
        409, "尚未兑换，不能退", "尚未兌換，不能退", "The hold is not captured yet"
    ),
    "merchant_not_active": ProblemKind(
        409, "商家没有有效协议", "商家沒有有效協議", "The merchant has no agreement in force"
    ),
    "offer_not_valid": ProblemKind(
        409, "此商品现在不能兑换", "此商品現在不能兌換", "The offer is not to be had now"
    ),
    "place_not_valid": ProblemKind(
        409, "不能在此地点领取", "不能在此地點領取", "It cannot be picked up there"
    ),
    "code_not_valid": ProblemKind(
        409, "兑换码无效或已用", "兌換碼無效或已用", "The code is not valid, or was used"
    ),
    "override_not_valid": ProblemKind(
        409, "限额特批无效或已用", "限額特批無效或已用", "The override does not fit, or was used"
    ),
    "out_of_stock": ProblemKind(409, "库存不足", "庫存不足", "Out of stock"),
    "cap_exceeded": ProblemKind(409, "超出限额", "超出限額", "A cap would be exceeded"),
    "insufficient_points": ProblemKind(409, "积分不足", "積分不足", "There are not enough points"),
    "points_blocked": ProblemKind(
        409,
        "部分积分正在核查，暂不能用",
        "部分積分正在核查，暫不能用",
        "Some points are under review and cannot be spent yet",
    ),
    "merchant_lacks_points": ProblemKind(
        409, "商家积分不足以退还", "商家積分不足以退還", "The merchant lacks the points to refund"
    ),
    "capture_exceeds_hold": ProblemKind(409, "兑换超过预留", "兌換超過預留", "More than was held"),
    "refund_exceeds_captured": ProblemKind(
        409, "退还积分超过已兑换", "退還積分超過已兌換", "More points than were captured"
    ),
    "return_exceeds_captured": ProblemKind(
        409, "退回数量超过已兑换", "退回數量超過已兌換", "More units than were captured"
    ),
    "slip_outstanding": ProblemKind(
        409,
        "离线凭单未到期，不能取消",
        "離線憑單未到期，不能取消",
        "A slip is not called back before it has expired",
    ),
    "slip_too_short": ProblemKind(
        409, "商家协议即将到期，不能开凭单", "商家協議即將到期，不能開憑單", "No time for a slip"
    ),
    "agreement_exists": ProblemKind(
        409, "协议编号已存在", "協議編號已存在", "The agreement is on record already"
    ),
    "expiry_rule_exists": ProblemKind(
        409, "当日已有到期规则", "當日已有到期規則", "A rule of expiry starts that day already"
    ),
    "webhook_disabled": ProblemKind(
        409, "推送地址已停用", "推送位址已停用", "The webhook endpoint is disabled"
    ),
    "webhook_stopped": ProblemKind(
        409, "推送已被工作人员停用", "推送已被工作人員停用", "Staff disabled an endpoint here"
    ),
    "too_many_webhooks": ProblemKind(
        409, "推送地址过多", "推送位址過多", "There are too many webhook endpoints"
    ),
    "webhook_url_refused": ProblemKind(
        422, "不能向此地址推送", "不能向此位址推送", "This address is not called"
    ),
    "body_too_large": ProblemKind(413, "请求正文过大", "請求正文過大", "The body is too large"),
    "unsupported_media_type": ProblemKind(
        415, "只接受 application/json", "只接受 application/json", "Only application/json is taken"
    ),
    "idempotency_key_reused": ProblemKind(
        422, "同一键用于不同请求", "同一鍵用於不同請求", "The key was used for another request"
    ),
    "account_not_found": ProblemKind(422, "账户不存在", "帳戶不存在", "There is no such account"),
    "owner_not_found": ProblemKind(422, "储户不存在", "儲戶不存在", "There is no such resident"),
    "branch_not_found": ProblemKind(422, "机构不存在", "機構不存在", "There is no such branch"),
    "branch_level_mismatch": ProblemKind(
        422, "机构层级不符", "機構層級不符", "The branch is of the wrong level"
    ),
    "community_type_mismatch": ProblemKind(
        422, "社区类型不符", "社區類型不符", "The community type does not fit"
    ),
    "service_point_level_mismatch": ProblemKind(
        422, "服务点与机构层级不符", "服務點與機構層級不符", "No such service point on this level"
    ),
    "account_kind_mismatch": ProblemKind(
        422, "账户类型不符", "帳戶類型不符", "This kind of account cannot do this"
    ),
    "amount_out_of_range": ProblemKind(
        422, "数额超出范围", "數額超出範圍", "The amount is out of range"
    ),
    "same_account": ProblemKind(
        422, "转出与转入相同", "轉出與轉入相同", "Both accounts are the same"
    ),
    "unit_mismatch": ProblemKind(422, "单位不符", "單位不符", "The units differ"),
    "occurred_in_future": ProblemKind(
        422, "发生时间在未来", "發生時間在未來", "It cannot have occurred yet"
    ),
    "as_of_in_future": ProblemKind(
        422, "查询时间在未来", "查詢時間在未來", "The instant has not passed yet"
    ),
    "expiry_rule_too_early": ProblemKind(
        422, "到期规则最早明天生效", "到期規則最早明天生效", "The rule of expiry starts too early"
    ),
    "person_erased": ProblemKind(410, "此人资料已销毁", "此人資料已銷毀", "The person was erased"),
    "person_frozen": ProblemKind(409, "此人资料已封存", "此人資料已封存", "The data is frozen"),
    "retention_runs": ProblemKind(
        409, "保存期限未满", "保存期限未滿", "The law asks to keep the data for now"
    ),
    "already_registered": ProblemKind(
        409, "此证件已登记", "此證件已登記", "This document is registered already"
    ),
    "possible_duplicate": ProblemKind(
        409, "可能重复登记", "可能重複登記", "This may be a registered person"
    ),
    "membership_refused": ProblemKind(
        409, "会员状态不允许此操作", "會員狀態不允許此操作", "The membership cannot go there"
    ),
    "not_a_member": ProblemKind(409, "尚未通过审核", "尚未通過審核", "This is for members only"),
    "guardian_needed": ProblemKind(
        409, "须由监护人办理", "須由監護人辦理", "A guardian is needed for this"
    ),
    "consent_missing": ProblemKind(409, "缺少本人同意", "缺少本人同意", "Consent is missing"),
    "helper_refused": ProblemKind(
        409, "不能指定此代办人", "不能指定此代辦人", "This helper cannot be named"
    ),
    "sheet_used": ProblemKind(409, "此单号已用过", "此單號已用過", "The sheet was used before"),
    "number_mistyped": ProblemKind(
        422, "号码校验不符", "號碼校驗不符", "The check digits do not fit"
    ),
    "sheet_not_issued": ProblemKind(
        422, "没有发出此单", "沒有發出此單", "No such sheet was issued"
    ),
    "seal_broken": ProblemKind(500, "资料已被改动", "資料已被改動", "The sealed data was altered"),
    "vault_key_missing": ProblemKind(503, "缺少主密钥", "缺少主密鑰", "The master key is missing"),
    "persons_number": ProblemKind(
        422, "名称中不得有电话或证件号码", "名稱中不得有電話或證件號碼", "A number of a person"
    ),
    "enrolment_not_confirmed": ProblemKind(
        403, "尚待另一人确认", "尚待另一人確認", "Another person must confirm your enrolment"
    ),
    "weak_secret": ProblemKind(
        422, "密码太容易猜到", "密碼太容易猜到", "The PIN or password is too easy to guess"
    ),
    "too_many_wrong_codes": ProblemKind(
        429, "兑换码错误次数过多", "兌換碼錯誤次數過多", "Too many wrong codes; wait a while"
    ),
    "too_many_attempts": ProblemKind(
        429, "尝试次数过多，请稍后再试", "嘗試次數過多，請稍後再試", "Too many attempts; wait"
    ),
    "evidence_missing": ProblemKind(422, "缺少佐证", "缺少佐證", "Evidence is missing"),
    "insurance_missing": ProblemKind(422, "缺少保险", "缺少保險", "An insurance is missing"),
    "service_not_over": ProblemKind(422, "服务尚未结束", "服務尚未結束", "It is not over yet"),
    "team_not_attending": ProblemKind(
        422, "该队伍未参加此活动", "該隊伍未參加此活動", "This team does not attend"
    ),
    "code_wrong": ProblemKind(422, "签到码不对", "簽到碼不對", "This is not the code shown now"),
    "wrong_step": ProblemKind(
        409, "当前状态不能这样操作", "目前狀態不能這樣操作", "Not at this step"
    ),
    "record_overlap": ProblemKind(
        409, "服务时间与已确认的重叠", "服務時間與已確認的重疊", "It overlaps a confirmed record"
    ),
    "hours_cap_exceeded": ProblemKind(
        409, "超出每日时长上限", "超出每日時長上限", "The cap is exceeded"
    ),
    "recorded_already": ProblemKind(409, "已有服务记录", "已有服務記錄", "It has a record already"),
    "award_of_record": ProblemKind(
        409, "请冲正服务记录", "請沖正服務記錄", "Reverse the service record instead"
    ),
    "category_exists": ProblemKind(409, "类别已存在", "類別已存在", "The category exists already"),
    "rate_too_early": ProblemKind(
        409, "该日起已有确认的服务", "該日起已有確認的服務", "Service of that day is confirmed"
    ),
    "rate_exists": ProblemKind(
        409, "该日已有费率生效", "該日已有費率生效", "A rate takes effect on that day already"
    ),
    "star_rule_exists": ProblemKind(
        409,
        "该日的星级规则已设定",
        "該日的星級規則已設定",
        "A rule for stars takes effect that day",
    ),
    "graded_already": ProblemKind(
        409, "这条记录已评价", "這條記錄已評價", "The record has its grade"
    ),
    "honour_title_exists": ProblemKind(
        409, "荣誉代码已存在", "榮譽代碼已存在", "There is an honour of this code"
    ),
    "honour_exists": ProblemKind(
        409, "本年度已提名或已授予", "本年度已提名或已授予", "Nominated or honoured already"
    ),
    "nothing_to_certify": ProblemKind(
        422, "该期间没有已确认的服务", "該期間沒有已確認的服務", "No confirmed service in this time"
    ),
    "signing_key_missing": ProblemKind(
        409, "尚未建立签名密钥", "尚未建立簽名密鑰", "There is no key to sign with"
    ),
    "certificate_ended": ProblemKind(
        409, "这份证明已失效", "這份證明已失效", "This certificate stands no longer"
    ),
    "certificate_forged": ProblemKind(
        422, "与签发的内容不符", "與簽發的內容不符", "This is not what was signed"
    ),
    "public_url_missing": ProblemKind(
        503, "尚未设定公开网址", "尚未設定公開網址", "The service does not know its address"
    ),
    "pdf_missing": ProblemKind(503, "未安装 PDF 组件", "未安裝 PDF 元件", "No PDF is made here"),
    "font_missing": ProblemKind(
        503, "缺少所需字体", "缺少所需字型", "No font here has these signs"
    ),
    "activity_held": ProblemKind(
        409, "活动正在核查，记录暂缓确认", "活動正在核查，記錄暫緩確認", "The activity is held"
    ),
    "caps_exist": ProblemKind(409, "该日的上限已设定", "該日的上限已設定", "The caps are set"),
    "shift_closed": ProblemKind(409, "班次已取消或结束", "班次已取消或結束", "The shift is closed"),
    "check_in_closed": ProblemKind(409, "不在签到时间内", "不在簽到時間內", "Check-in is closed"),
    "check_out_closed": ProblemKind(409, "签退时间已过", "簽退時間已過", "Check-out is closed"),
    "not_on_roster": ProblemKind(409, "不在名单上", "不在名單上", "You have no place here"),
    "internal_error": ProblemKind(500, "系统出错", "系統出錯", "Something went wrong on our side"),
    "overloaded": ProblemKind(
        503, "系统繁忙，请稍后再试", "系統繁忙，請稍後再試", "Too busy; try again"
    ),
    "outcome_unknown": ProblemKind(
        503, "结果未知，请用同一键重试", "結果未知，請用同一鍵重試", "Outcome unknown; repeat it"
    ),
    "schema_mismatch": ProblemKind(
        503, "数据库版本不符", "資料庫版本不符", "The database is of another version"
    ),
    "database_unavailable": ProblemKind(
        503, "系统暂不可用", "系統暫不可用", "The database is unavailable"
    ),
}


class Fault(Struct, frozen=True):
    """One fault of a request: where (JSON Pointer or parameter name) and what."""

    pointer: str
    detail: str


class Problem(Struct, frozen=True, kw_only=True):
    """The body of every error (RFC 9457); `code` is stable, `type` is a page that explains it."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str
    errors: list[Fault] | UnsetType = UNSET


def make_problem(
    code: str, detail: str, instance: str, accept_language: str, errors: list[Fault] | None = None
) -> Problem:
    """Return the problem of this code, `instance` being the path that was asked for.

    A code that is not in the table is a bug, and a KeyError.
    """
    kind = PROBLEM_KINDS[code]
    title: str = getattr(kind, preferred_language(accept_language))
    return Problem(
        type=f"/problems/{code}",
        title=title,
        status=kind.status,
        code=code,
        detail=detail,
        instance=quote(instance),
        errors=errors or UNSET,
    )
