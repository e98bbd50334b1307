"""`python -m gate`: the same program as `gate`."""

from gate.cli import main

main()
