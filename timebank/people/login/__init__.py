"""How people and systems prove who they are: secrets, codes, second factors, keys, and delays."""
