"""Looking at results: one html page of a finished run, and a view in the browser.

Both read the files of an output folder; nothing is fitted again.
"""

from fitting.viewer.folder import Person, Results, read_results
from fitting.viewer.page import write_page

__all__ = ["Person", "Results", "read_results", "write_page"]
