"""What a finished run leaves behind: its readable results, cards, exports and trackers."""
