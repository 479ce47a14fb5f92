"""How the models that guide are trained from the command line."""
