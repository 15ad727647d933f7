"""What pages are built from: the frame around them, tables, charts, dialogs."""
