"""What to do about each refusal of the ledger and of a redemption; nothing was moved by either."""

REFUSAL_REMEDIES = {
    "insufficient_balance": "The account holds less than that. Ask for less, or wait until it "
    "holds more; a reversal of points that are spent may say `when_spent: debt`.",
    "ceiling_exceeded": "The account would pass its upper limit: an issuance account never takes "
    "in more than it gave out. Check which account is which.",
    "already_reversed": "It was reversed before. Read it to see by what; there is nothing to do.",
    "original_is_reversal": "A reversal stands. Do what it undid once more, as a new transfer.",
    "original_not_reversible": "What was redeemed is refunded: refund the hold it belongs to.",
    "original_not_found": "Only what was posted can be reversed. Check the id; what was refused "
    "moved nothing.",
    "original_differs": "A reversal mirrors the whole original. Send its accounts exchanged, and "
    "its amount.",
    "chain_broken": "All of a chain is posted or none. Mend the one that was refused, and send the "
    "chain again under a new key.",
    "account_kind_mismatch": "Points move between these kinds of account in another way, or not at "
    "all. Check both accounts.",
    "same_account": "Name two accounts.",
    "unit_mismatch": "Hours go to an account of hours, points to one of points. Check both.",
    "occurred_in_future": "Check the clock that `occurred_at` comes from, and send it again.",
    "account_not_found": "Check the ids: there is no such account here, or it is of another kind.",
    "amount_out_of_range": "Send a whole amount, at least 1 and no larger than the description "
    "says.",
    "hold_not_found": "Check the id: there is no such hold here, or it is another merchant's.",
    "hold_already_captured": "The goods were handed over. Refund it if they come back.",
    "hold_released": "It was cancelled. Reserve again.",
    "hold_expired": "It was not fetched in time, and the points went back. Reserve again.",
    "hold_not_captured": "Nothing was handed over yet. Release the hold instead.",
    "merchant_not_active": "No agreement with the merchant is in force today. Make or renew one.",
    "offer_not_valid": "It is withdrawn, or not offered on this day. Choose from `GET /offers`.",
    "place_not_valid": "Choose a shop of this merchant where the offer is to be had.",
    "code_not_valid": "A code is good once and for a short time. Ask the resident for a new one.",
    "override_not_valid": "An override lets one act pass one cap. Have two persons grant another.",
    "out_of_stock": "Fewer are there than that. Take fewer, or restock.",
    "cap_exceeded": "`detail` names the cap. Take less, wait until it begins anew, or have two "
    "persons grant an override.",
    "insufficient_points": "The resident can use fewer points than that. Take less.",
    "points_blocked": "The service that brought them is being examined. Use others, or wait until "
    "two persons have released the activity.",
    "merchant_lacks_points": "The merchant holds fewer points than that: what it took in was "
    "settled or given on. Send less, or wait until it takes in more.",
    "capture_exceeds_hold": "Capture at most what was held; for more, make another hold.",
    "refund_exceeds_captured": "Refund at most what was captured and not yet refunded.",
    "return_exceeds_captured": "Take back at most what was handed over and not yet returned.",
    "slip_outstanding": "A till without a network may have taken the slip. It goes back by itself, "
    "some time after its end.",
    "too_many_wrong_codes": "Wait a while, and ask the resident for a new code.",
}
