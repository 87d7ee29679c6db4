"""`python -m adapter` is `metriport-adapter`."""

from adapter.cli import main

main()
