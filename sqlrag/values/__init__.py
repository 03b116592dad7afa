"""Values from outside: checked arguments, bound parameters, rows as JSON. Nothing here is public."""
