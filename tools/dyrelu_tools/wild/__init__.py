"""Cases on which dyrelu once went wrong, run through the command line."""
