"""Tests, and what they share.

| file | what it makes | needs |
|---|---|---|
| `fakes` | models and clocks that follow a script, and fail when it is over | nothing |
| `toy_world` | a whole run of the graph in this process: a student that copies its nearest row, a teacher that answers in form | no torch, no files but the store |
| `tiny_models` | a real student and a real embedder of a few thousand parameters, saved to folders | torch |
| `tiny_world` | settings and rows in files for a whole run with those, through the command line or the server | torch, unless told other models |
| `fake_chat_server` | one server, whose answers a test lists | loopback |
| `openai_server` | one server, which answers every prompt in form, as `toy_world`'s teacher does | loopback |
| `tokenizers_in_memory` | tokenizers of every kind, made on the spot | transformers |
| `dev_server`, `command_line`, `browser` | the server, the command and a report's page, as a user has them | |
| `sandbox_situations` | machines on which the sandbox finds less than it likes | Linux |
"""
