"""One module a subcommand: ``add_parser(subparsers)`` sets ``run``, a function from the arguments
to the exit status."""
