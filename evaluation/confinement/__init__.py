"""What the kernel takes away from a program before it starts. Standard library only: it is loaded inside the sandbox."""
