"""What comes from outside: arguments, parameters, SQL text; and rows as JSON. Nothing here is public."""
