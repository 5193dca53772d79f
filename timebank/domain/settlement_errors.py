"""What can go wrong of settlements by rule; as errors.py, each docstring is message and remedy."""

from timebank.domain.errors import TimebankError


class SettlementRefusedError(TimebankError):
    """The settlement was refused; `status` is its code and nothing was moved."""

    code = "settlement_refused"

    def __init__(self, status: str = "settlement_refused") -> None:
        """`status` is a SettlementStatus other than done."""
        super().__init__(SETTLEMENT_REMEDIES.get(status, status))
        self.status = status


SETTLEMENT_REMEDIES = {
    "id_conflict": "This id is taken by another settlement or transfer. Use a new one.",
    "settlement_not_found": "There is no such settlement or merchant. Check the id.",
    "settlement_open": "The merchant's settlement before is still open. Close or discard it first.",
    "settlement_closed": "This settlement is closed and never changes. Correct it in the next.",
    "settlement_not_approved": "Two persons must approve this settlement before it is closed.",
    "settlement_differs": "The settlement is not what you saw. Read it again and send its hash.",
    "settlement_empty": "Nothing was recorded since the settlement before. There is none to draft.",
    "cut_off_in_future": "A settlement ends at an instant that has passed. Draft it later.",
    "second_person_needed": "Whoever acts for the merchant does not approve. Ask another person.",
}
