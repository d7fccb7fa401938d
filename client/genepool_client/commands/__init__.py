"""What people type: the command line and every command, each a thin shell around a room."""
