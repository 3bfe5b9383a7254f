"""Pictures of data and of what the strategies do to them, for a person who wants to look."""
