"""What a sweep needs of this machine, what of it is there, and how long it will take."""
