"""`python -m prune_ssl`: the same program as `prune-ssl`."""

from prune_ssl.cli.app import main

main()
