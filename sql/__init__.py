"""The SQL that the package runs: in a wheel this folder is `sqlrag.sql`."""
