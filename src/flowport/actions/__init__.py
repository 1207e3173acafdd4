"""What a user can ask for, without knowledge of a protocol."""
