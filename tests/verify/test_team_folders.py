"""A process of a team with folders of its own is named, with real processes."""
