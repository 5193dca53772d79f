"""What the pages say, in three languages. `{…}` is filled in by the page."""

from collections.abc import Mapping

from msgspec import Struct

from timebank.domain.certificates import CertificateStatus
from timebank.domain.languages import Language


class Words(Struct, frozen=True):
    """One text in each language."""

    zh_hans: str
    zh_hant: str
    en: str


_COMMON = {
    "service": Words("时间银行", "時間銀行", "Time bank"),
    "languages": Words("语言", "語言", "Language"),
    "no_person": Words(
        "本页不显示姓名等个人信息。",
        "本頁不顯示姓名等個人資訊。",
        "This page tells no name and nothing else of a person.",
    ),
    "absent_title": Words("没有这一页", "沒有這一頁", "There is no such page"),
    "absent_text": Words(
        "请检查网址，或从原来的地方重新打开。",
        "請檢查網址，或從原來的地方重新開啟。",
        "Check the address, or open it again from where you came.",
    ),
    "failed_title": Words("系统暂时不可用", "系統暫時無法使用", "Not available for now"),
    "failed_text": Words(
        "请过几分钟再试。", "請過幾分鐘再試。", "Please try again in a few minutes."
    ),
}

_CERTIFICATE = {
    "certificate": Words(
        "志愿服务记录证明查验", "志願服務記錄證明查驗", "Check a certificate of voluntary service"
    ),
    "valid": Words("有效", "有效", "Valid"),
    "valid_text": Words(
        "请核对：纸上的编号、服务期间和服务时长应与下面完全一致。",
        "請核對：紙上的編號、服務期間和服務時長應與下面完全一致。",
        "Compare: number, period and time on the paper must be just as below.",
    ),
    "name_unproven": Words(
        "本页不能证明纸上的姓名和内容：请核对证件，或查验 PDF 里的 certificate.json。",
        "本頁不能證明紙上的姓名和內容：請核對證件，或查驗 PDF 裡的 certificate.json。",
        "This page does not prove the name or the content on the paper: look at the holder's "
        "document, or verify certificate.json in the PDF.",
    ),
    "revoked": Words("已撤销", "已撤銷", "Revoked"),
    "revoked_text": Words(
        "出具单位已撤销这份证明，请不要采信。",
        "出具單位已撤銷這份證明，請不要採信。",
        "The issuer has revoked this certificate: do not rely on it.",
    ),
    "superseded": Words("已失效", "已失效", "No longer valid"),
    "superseded_text": Words(
        "其中有服务记录已被更正，这份证明不再有效。请向持有人索取新的证明。",
        "其中有服務記錄已被更正，這份證明不再有效。請向持有人索取新的證明。",
        "A record in it was corrected since. Ask the holder for a new certificate.",
    ),
    "unknown": Words("查无此编号", "查無此編號", "No such number"),
    "unknown_text": Words(
        "没有这个编号的证明。请核对编号后再查；若编号无误，这份证明不是由本站的单位出具的。",
        "沒有這個編號的證明。請核對編號後再查；若編號無誤，這份證明不是由本站的單位出具的。",
        "No certificate has this number. If you typed it as printed, it was not issued here.",
    ),
    "number": Words("证明编号", "證明編號", "Number"),
    "period": Words("服务期间", "服務期間", "Period"),
    "period_value": Words("{start} 至 {end}", "{start} 至 {end}", "{start} to {end}"),
    "time": Words("服务时长", "服務時長", "Time served"),
    "time_value": Words(
        "{hours} 小时 {minutes} 分（共 {total} 分钟）",
        "{hours} 小時 {minutes} 分（共 {total} 分鐘）",
        "{hours} h {minutes} min ({total} minutes)",
    ),
    "ask": Words("输入证明编号", "輸入證明編號", "Type the number of a certificate"),
    "ask_button": Words("查验", "查驗", "Check"),
    "offline": Words("不经本站也能查验", "不經本站也能查驗", "Check it without this site"),
    "offline_text": Words(
        "PDF 证明里附有带数字签名的文件 certificate.json。用出具单位公布的公钥可以离线核对，"
        "一字改动也会被发现；是否已撤销，仍以本页为准。",
        "PDF 證明裡附有帶數位簽章的檔案 certificate.json。用出具單位公布的公鑰可以離線核對，"
        "一字改動也會被發現；是否已撤銷，仍以本頁為準。",
        "A PDF certificate has the signed file certificate.json attached. With the issuer's "
        "published keys anybody finds any changed letter, offline. Whether it was revoked, only "
        "this page tells.",
    ),
    "keys": Words("出具单位的公钥", "出具單位的公鑰", "The issuer's public keys"),
}

_CODES = {
    "pay": Words("付款码", "付款碼", "Payment code"),
    "pickup": Words("取货码", "取貨碼", "Pick-up code"),
    "card": Words("储户卡", "儲戶卡", "Member card"),
    "nothing_done": Words(
        "打开本页不会扣积分，也不会用掉这个码。",
        "開啟本頁不會扣積分，也不會用掉這個碼。",
        "Opening this page takes no points and does not use the code up.",
    ),
    "pay_holder": Words(
        "付款时，请把屏幕上的码出示给爱心商家的店员，由店员扫描。一分钟内有效，只能用一次。"
        "不要把它发给别人。",
        "付款時，請把螢幕上的碼出示給愛心商家的店員，由店員掃描。一分鐘內有效，只能用一次。"
        "不要把它傳給別人。",
        "To pay, show the code on your screen to the shop's clerk, who scans it. It is good for "
        "one minute and once. Send it to nobody.",
    ),
    "pay_clerk": Words(
        "店员：请用收银端扫描，不要用手机相机；扫不出来时，请输入码下面的 8 位数字。",
        "店員：請用收銀端掃描，不要用手機相機；掃不出來時，請輸入碼下面的 8 位數字。",
        "Clerk: scan it at the till, not with the phone's camera, or type the 8 digits below it.",
    ),
    "pickup_holder": Words(
        "取货时，请把这个码出示给预留商家的店员。只在那一家有效。不要把它发给别人。",
        "取貨時，請把這個碼出示給預留商家的店員。只在那一家有效。不要把它傳給別人。",
        "To fetch what is held for you, show the code to that merchant's clerk; it is good there "
        "only. Send it to nobody.",
    ),
    "pickup_clerk": Words(
        "店员：请用收银端扫描，不要用手机相机；扫不出来时，请输入码下面的 6 位数字。",
        "店員：請用收銀端掃描，不要用手機相機；掃不出來時，請輸入碼下面的 6 位數字。",
        "Clerk: scan it at the till, not with the phone's camera, or type the 6 digits below it.",
    ),
    "card_holder": Words(
        "请把卡交给服务点的工作人员或爱心商家的店员，由他们扫描。卡和密码不要一起放，也不要拍照发给别人。"
        "捡到这张卡，请交到任何一个社区服务点；丢了卡，请尽快去挂失。",
        "請把卡交給服務點的工作人員或愛心商家的店員，由他們掃描。卡和密碼不要一起放，也不要拍照傳給別人。"
        "撿到這張卡，請交到任何一個社區服務點；丟了卡，請盡快去掛失。",
        "Hand the card to the staff of a service point or a shop, who scan it. Keep the PIN apart; "
        "send nobody a photograph. Found it? Bring it to any service point. Lost it? Report it.",
    ),
    "card_clerk": Words(
        "工作人员：请用工作端扫描，不要用手机相机；扫不出来时，请输入卡上的字符。",
        "工作人員：請用工作端掃描，不要用手機相機；掃不出來時，請輸入卡上的字元。",
        "Staff: scan it with your work device, not the phone's camera, or type the signs on it.",
    ),
}

WORDS: Mapping[str, Words] = {**_COMMON, **_CERTIFICATE, **_CODES}

LANGUAGE_NAMES: Mapping[Language, str] = {
    Language.ZH_HANS: "简体中文",
    Language.ZH_HANT: "繁體中文",
    Language.EN: "English",
}

SYMBOLS: Mapping[str, str] = {
    CertificateStatus.VALID: "✓",
    CertificateStatus.REVOKED: "✗",
    CertificateStatus.SUPERSEDED: "✗",
    "unknown": "?",
}
"""Beside the word, so that nobody needs to see a colour."""
