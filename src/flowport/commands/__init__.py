"""The subcommands of `flowport`. Each is loaded only when it is called, because each needs other libraries."""
