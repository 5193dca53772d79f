"""`python -m timebank` is the `timebank` command."""

from timebank.cli.main import main

if __name__ == "__main__":
    main()
