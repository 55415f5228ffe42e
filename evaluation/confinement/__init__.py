"""What the kernel takes away from a program before it starts. Standard library only, because this is loaded inside the sandbox."""
