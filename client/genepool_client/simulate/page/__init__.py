"""What a simulation leaves to look at: report.json, report.html, the pictures in it, and the table on a terminal."""
