"""`python -m prune_ssl`: the same program as `prune-ssl`."""

from prune_ssl.cli.main import main

main()
