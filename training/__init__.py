"""What the student does: fine-tuning, scoring and generation, in a process of their own. All torch code lives here."""
