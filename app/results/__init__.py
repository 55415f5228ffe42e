"""What a finished run leaves: its readable view, cards, exports, trackers."""
