"""What is made of a class map: one Format for each kind of file, and the table of them."""
