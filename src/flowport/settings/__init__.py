"""One table of settings: parsing, defaults, help, and the places they are read from."""
