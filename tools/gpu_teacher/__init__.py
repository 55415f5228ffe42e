"""An OpenAI-compatible server for a local teacher on a GPU."""
