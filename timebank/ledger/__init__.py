"""The journal, the passbook and the balances: how amounts move and how they are read."""
