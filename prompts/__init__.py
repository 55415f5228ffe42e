"""How we talk to an LLM: one template file a prompt, rendering, and calls that return validated items."""
