"""An OpenAI-compatible server of a local teacher on a GPU."""
