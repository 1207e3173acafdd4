"""`flowport doctor`: what is wrong, and the command or setting that corrects it."""
