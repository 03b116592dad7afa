"""Values that come from outside: arguments checked, parameters bound, rows as JSON."""
