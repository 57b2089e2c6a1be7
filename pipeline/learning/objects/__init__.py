"""What is made of the numbers of objects: borders between them, and weights of pixels between near ones."""
