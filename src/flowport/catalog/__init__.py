"""What an account can run: discovered, named, kept on disk, and offered as tools.

`records` says what a catalogue is, `selection` which apps are listed, `search` answers `find_apps`, `cache` keeps the
catalogue on disk and `discovery` brings it up to date.
"""
