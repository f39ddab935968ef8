"""Tables, as files have them, to series and windows."""
