"""How fast an export is, compared with what people do today and with the best that this machine can do."""
