"""How quick an export is, beside what people do today and what this machine could do at best."""
