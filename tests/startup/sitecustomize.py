"""Python runs this file at its start, in each process that the tests start: see kept_results.py."""

import kept_results

kept_results.use()
