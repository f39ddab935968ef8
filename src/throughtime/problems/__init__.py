"""What there is to learn, a folder for each kind of problem."""
