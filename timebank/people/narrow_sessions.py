"""What sessions by key, and by card and PIN, are good for: less than their role may."""

from timebank.people.policy import Action

FOR_PERSONS = frozenset(
    {
        Action.ISSUE_API_KEY,
        Action.READ_API_KEYS,
        Action.REVOKE_API_KEY,
        Action.END_SESSION,
        Action.CHANGE_PASSWORD,
        Action.READ_OWN_DATA,
        Action.EXPORT_OWN_DATA,
    }
)
"""What who runs a merchant may, and no key of its systems: none makes or ends another.

To end all sessions of the system would be to end all its keys.
"""

LOW_VALUE = frozenset(
    {
        Action.READ_ACCOUNT,
        Action.READ_SESSION,
        Action.END_SESSION,
        Action.READ_CATALOGUE,
        Action.QUOTE,
        Action.PLACE_HOLD,
        Action.READ_HOLD,
        Action.READ_RESIDENT,
        Action.RELEASE_HOLD,
        Action.READ_FAMILY,
        Action.READ_PROGRAMME,
        Action.READ_RECORD,
        Action.READ_CERTIFICATE,
        Action.SIGN_UP,
        Action.CHECK_IN_BY_CODE,
    }
)
"""What a card and its PIN are good for: looking, and redeeming under the small cap of a card's day.

A code or a slip pays without that cap, so it needs the stronger login.
"""
